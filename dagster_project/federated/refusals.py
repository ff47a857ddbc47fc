"""What ends a federated run: each cause by a name of its own, in English and Chinese.

A refusal names hospitals, rounds and places, never a value.
"""

from __future__ import annotations

from collections.abc import Iterable


class Refusal(RuntimeError):
    """A federated step that was not done; `en` and `zh` state the cause and what to do next."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(f"{en}\n{zh}")
        self.en, self.zh = en, zh


class ExtraMissing(Refusal):
    """A library of the extra `federated` is not installed."""

    def __init__(self, library: str) -> None:
        super().__init__(
            f"{library} is not installed: federated sums are encrypted with it. "
            "Install the extra: `pip install 'dynamic-irecist-lakehouse[federated]'`",
            f"未安装 {library}：联邦求和用它加密。"
            "请安装附加组件：`pip install 'dynamic-irecist-lakehouse[federated]'`",
        )


# -- who takes part --------------------------------------------------------------------------------


class TooFewHospitals(Refusal):
    """Fewer hospitals than a sum may have."""

    def __init__(self, found: int, least: int) -> None:
        super().__init__(
            f"{found} hospitals take part and at least {least} must: from the sum of fewer a "
            "hospital computes the other's part. Wait until more have joined",
            f"参加的医院为 {found} 家，至少需要 {least} 家：医院过少时可由总和推算他院数据。"
            "请等待更多医院加入",
        )


class NoHospitalCode(Refusal):
    """A name that is no site's code, or a fingerprint of another form."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(
            f"entry {position} of the list of hospitals has no valid {what}; correct the list",
            f"医院名单第 {position} 项的 {what} 无效；请更正名单",
        )


class SameKeyTwice(Refusal):
    """Two hospitals of a run have one key: one of them would be counted twice."""

    def __init__(self, hospitals: Iterable[str]) -> None:
        names = ", ".join(sorted(hospitals))
        super().__init__(
            f"the hospitals {names} have the same key; each needs one of its own",
            f"医院 {names} 使用同一密钥；每家医院须有自己的密钥",
        )


class UnknownHospital(Refusal):
    """A message of a hospital that is not in this run."""

    def __init__(self, hospital: str) -> None:
        super().__init__(
            f"a message names the hospital {hospital}, which is not part of this run; "
            "ask the coordinator who takes part",
            f"收到不属于本次运行的医院 {hospital} 的消息；请向协调方核对参加名单",
        )


class HospitalMissing(Refusal):
    """A hospital of the run sent nothing."""

    def __init__(self, hospitals: Iterable[str]) -> None:
        names = ", ".join(sorted(hospitals))
        super().__init__(
            f"nothing came from {names}: a sum needs all hospitals of its run. "
            "Start a new run when they can be reached",
            f"未收到 {names} 的消息：求和需要本次运行的全部医院。请在其恢复连接后重新运行",
        )


class HospitalTwice(Refusal):
    """A hospital of the run sent more than one message for one step."""

    def __init__(self, hospital: str) -> None:
        super().__init__(
            f"two messages came from {hospital} for one step; start a new run",
            f"同一步骤收到 {hospital} 的两条消息；请重新运行",
        )


class SubstitutedKey(Refusal):
    """A hospital's key is not the one that is pinned here."""

    def __init__(self, hospital: str) -> None:
        super().__init__(
            f"the key of {hospital} is not the one whose fingerprint is pinned here. Compare the "
            "fingerprint with that hospital by telephone before anything is pinned anew",
            f"{hospital} 的密钥与本院固定的指纹不符。请先与该院电话核对指纹，再决定是否重新固定",
        )


class ForgedMessage(Refusal):
    """A message whose signature or seal does not hold, or that cannot be read."""

    def __init__(self, hospital: str, what: str, zh: str) -> None:
        super().__init__(
            f"the {what} of {hospital} was changed on its way, or was made for another run; "
            "start a new run, and report it if it happens again",
            f"{hospital} 的{zh}在传输中被更改，或属于另一次运行；请重新运行，再次出现时请上报",
        )


class NotPinned(Refusal):
    """Hospitals of a plan whose keys nobody here has pinned."""

    def __init__(self, hospitals: Iterable[str]) -> None:
        names = ", ".join(sorted(hospitals))
        super().__init__(
            f"the keys of {names} are not pinned here; ask each by telephone for its fingerprint: "
            "`lakehouse federated pin CODE FINGERPRINT`",
            f"本院尚未固定 {names} 的密钥；请逐一电话核对指纹："
            "`lakehouse federated pin CODE FINGERPRINT`",
        )


class PinnedOtherwise(Refusal):
    """A pin that contradicts one that is there."""

    def __init__(self, hospital: str) -> None:
        super().__init__(
            f"{hospital} is pinned here with another key, or this key is pinned to it. Make sure "
            "by telephone; a hospital that has a new key is pinned anew with --again",
            f"本院已为 {hospital} 固定其他密钥，或该密钥已归属它。请电话核实；"
            "更换密钥的医院可用 --again 重新固定",
        )


class NotAFingerprint(Refusal):
    """A code or a fingerprint of another form."""

    def __init__(self) -> None:
        super().__init__(
            "a hospital is pinned by its code (capital letters first, then at most two digits) and "
            "a fingerprint of 64 hexadecimal digits; compare both with what the hospital reads out",
            "固定密钥需要医院代码（大写字母在前，末尾至多两位数字）和 64 位十六进制指纹；"
            "请与对方读出的内容核对",
        )


class PinsUnreadable(Refusal):
    """A file of pins that was edited into something else."""

    def __init__(self, file: str) -> None:
        super().__init__(
            f"{file} in the home's folder federated/ is no list of hospitals' fingerprints; "
            "restore it, or move it away and pin each hospital anew",
            f"主目录 federated/ 下的 {file} 不是医院指纹列表；请恢复，或移走后重新逐一固定",
        )


class UnreadableKey(Refusal):
    """A file that holds no certificate, request or public key."""

    def __init__(self) -> None:
        super().__init__(
            "the file holds no certificate, request for one, or public key in PEM; private keys "
            "are not read",
            "文件中没有 PEM 格式的证书、证书请求或公钥；不读取私钥",
        )


# -- what is summed --------------------------------------------------------------------------------


class NotFinite(Refusal):
    """A value that is no number."""

    def __init__(self, positions: list[int]) -> None:
        super().__init__(
            f"positions {positions} of the vector are no finite numbers; nothing was sent. "
            "Correct the rows that they are computed from",
            f"向量第 {positions} 位不是有限数值；未发送任何数据。请更正对应的数据行",
        )


class TooLarge(Refusal):
    """A value outside the range in which a sum over all hospitals cannot overflow."""

    def __init__(self, positions: list[int], limit: float) -> None:
        super().__init__(
            f"positions {positions} of the vector exceed ±{limit:g}, beyond which a sum could "
            "overflow; nothing was sent. Scale the column in the plan",
            f"向量第 {positions} 位超过 ±{limit:g}，求和可能溢出；未发送任何数据。"
            "请在方案中缩放该列",
        )


class WrongLength(Refusal):
    """A vector of another length than the plan's."""

    def __init__(self, hospital: str, found: int, wanted: int) -> None:
        super().__init__(
            f"the vector of {hospital} has {found} values where the plan has {wanted}; "
            "compare the version of the software and of the plan",
            f"{hospital} 的向量有 {found} 个值，方案为 {wanted} 个；请核对软件与方案版本",
        )


class OtherRound(Refusal):
    """A message of another round or run than the one in progress."""

    def __init__(self, hospital: str, found: int, wanted: int) -> None:
        super().__init__(
            f"a message of {hospital} is of round {found} or of another run, and round {wanted} "
            "of this run is in progress; start a new run",
            f"{hospital} 的消息属于第 {found} 轮或另一次运行，当前为本次运行第 {wanted} 轮；"
            "请重新运行",
        )


class RepeatedRound(Refusal):
    """A round that this hospital has sent its part of already."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"this hospital has sent its part of round {number} already, and a second part would "
            "show the difference of the two; start a new run",
            f"本院已发送第 {number} 轮数据，再次发送会泄露两次之差；请重新运行",
        )


class FailedCheck(Refusal):
    """A sum that does not fit its check slot."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the sum of round {number} fails its check: a hospital's part is missing, is of "
            "another round, or was changed on its way. No number was read; start a new run",
            f"第 {number} 轮的总和未通过校验：某院数据缺失、属于其他轮次或在传输中被更改。"
            "未读取任何数值；请重新运行",
        )


class UnreadableCiphertext(Refusal):
    """Bytes that are no ciphertext, or no key, of this scheme."""

    def __init__(self, what: str, zh: str) -> None:
        super().__init__(
            f"{what} cannot be read as what this scheme makes; it was cut or changed on its way. "
            "Start a new run, and compare the versions of the software",
            f"{zh}无法按本方案读取：可能被截断或更改。请重新运行，并核对软件版本",
        )


class UnreadableMessage(Refusal):
    """Bytes that are no part and no sum."""

    def __init__(self) -> None:
        super().__init__(
            "a message cannot be read: it was cut or changed on its way, or is of another version "
            "of the software. Start a new run",
            "消息无法读取：在传输中被截断或更改，或软件版本不同。请重新运行",
        )


class OutOfOrder(Refusal):
    """A step of a run before the one that comes first, or once more."""

    def __init__(self) -> None:
        super().__init__(
            "the steps of a run came in another order than they must: announcement, greetings, "
            "then part and sum of each round. Start a new run",
            "运行步骤顺序有误：应先公布密钥、互相问候，再逐轮发送与接收。请重新运行",
        )


class HospitalFailed(Refusal):
    """A run that ended for what a hospital did, or did not do; no number was read."""

    def __init__(self, hospital: str, what: str, zh: str) -> None:
        self.hospital = hospital
        super().__init__(
            f"the run has failed: {hospital} {what}. No number was read. Look at the messages of "
            "`lakehouse federated join` there, then start a new run",
            f"运行失败：{hospital} {zh}。未读取任何数值。"
            "请查看该院 `lakehouse federated join` 的提示，然后重新运行",
        )


# -- what a sum means ------------------------------------------------------------------------------


class NotCounts(Refusal):
    """A sum of counts with a value that is negative or no whole number."""

    def __init__(self) -> None:
        super().__init__(
            "the sum is no sum of counts: a value is negative or no whole number. Compare the "
            "plans and the versions of the software; counts with noise are not read as exact ones",
            "总和不是计数之和：存在负数或非整数。请核对方案与软件版本；含噪声的计数不能按精确值读取",
        )


class OutsideGrid(Refusal):
    """A quantile of values outside the grid that they are counted on, or of none."""

    def __init__(self) -> None:
        super().__init__(
            "the quantile is not within the grid that the ratios are counted on, or there are no "
            "ratios; look at how the hospitals' copies were made",
            "分位数超出计数网格，或没有比值；请检查各医院扰动副本的生成方式",
        )


class OtherColumns(Refusal):
    """Rows of another number of columns than the plan's."""

    def __init__(self, found: int, wanted: int) -> None:
        super().__init__(
            f"the rows have {found} columns where the plan has {wanted}; nothing was sent. "
            "Compare the version of the software and of the plan",
            f"数据行有 {found} 列，方案为 {wanted} 列；未发送任何数据。请核对软件与方案版本",
        )


class RowsApart(Refusal):
    """Columns of one table with different numbers of rows, or marks that are neither yes nor no."""

    def __init__(self, what: str, zh: str) -> None:
        super().__init__(
            f"{what}; nothing was sent. Correct the rows that are handed over",
            f"{zh}；未发送任何数据。请更正所提交的数据行",
        )


class UnknownGroup(Refusal):
    """Patients of an arm, group, batch or hospital that the plan does not list."""

    def __init__(self, patients: int) -> None:
        super().__init__(
            f"{patients} rows are of a group that the plan does not list; nothing was sent. "
            "Correct the plan, or the rows",
            f"有 {patients} 行属于方案未列出的组；未发送任何数据。请更正方案或数据行",
        )


class RowsUnusable(Refusal):
    """A table of rows that a plan cannot be computed from."""

    def __init__(self, columns: Iterable[str], what: str, zh: str) -> None:
        names = ", ".join(columns)
        super().__init__(
            f"the table of rows cannot be used: {names} {what}; nothing was sent. Correct the "
            "table; docs/federated.md lists the columns of each kind of plan",
            f"数据表无法使用：{names} {zh}；未发送任何数据。请更正数据表，各类方案所需列见 "
            "docs/federated.md",
        )


class KindNotRun(Refusal):
    """A kind of plan whose rows do not fit into a table with one row per patient."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"plans of the kind [{kind}] take rows from the lake alone; nothing was sent. Add a "
            "section [rows] to the plan",
            f"[{kind}] 类方案只能从数据湖取数据行；未发送任何数据。请在方案中加入 [rows] 节",
        )


class JobRefused(Refusal):
    """A job of the engine that is not the configuration of a run."""

    def __init__(self, what: str, zh: str) -> None:
        super().__init__(
            f"this hospital has refused the job: {what}. No process was started for it; look at "
            "who submits jobs at the coordinator",
            f"本院已拒绝该任务：{zh}。未启动任何进程；请查明协调方由谁提交任务",
        )


class NotApproved(Refusal):
    """A request, certificate or key that does not belong where it is used."""

    def __init__(self, what: str, zh: str) -> None:
        super().__init__(f"{what}", f"{zh}")


class EngineFailed(Refusal):
    """A process of the engine that did not start, or ended."""

    def __init__(self, what: str, zh: str) -> None:
        super().__init__(f"{what}", f"{zh}")


# -- rows of the hospital's own lake ---------------------------------------------------------------


class NoLake(Refusal):
    """A plan that takes rows from the lake, in a home without one."""

    def __init__(self) -> None:
        super().__init__(
            "this home has no lake to compute rows from; nothing was sent. Run `lakehouse run` "
            "first, or use the home that the study is in",
            "本目录没有数据湖，无法计算数据行；未发送任何数据。请先运行 `lakehouse run`，"
            "或改用研究所在目录",
        )


class NoTable(Refusal):
    """A plan without [rows] at a hospital that has named no table."""

    def __init__(self) -> None:
        super().__init__(
            "the plan takes rows from a table and this hospital has named none; nothing was sent. "
            "Join again with --rows TABLE, or ask for a plan with a section [rows]",
            "方案从数据表读取数据行，而本院未指定数据表；未发送任何数据。"
            "请用 --rows TABLE 重新加入，或请求含 [rows] 节的方案",
        )


class OtherSchemaVersion(Refusal):
    """A lake whose tables are of another version than the plan's, or than this program's."""

    def __init__(self) -> None:
        super().__init__(
            "the lake's tables are of another version than the plan names; nothing was sent. "
            "Bring software and lake to the plan's version (`lakehouse migrate`), or correct "
            "schema_version in the plan",
            "数据湖表结构版本与方案所列不符；未发送任何数据。请将软件与数据湖升级到方案版本"
            "（`lakehouse migrate`），或更正方案中的 schema_version",
        )


class OtherProtocol(Refusal):
    """A protocol that is not the plan's: the same words would mean other patients and values."""

    def __init__(self) -> None:
        super().__init__(
            "study.toml of this hospital is not the protocol that the plan names; nothing was "
            "sent. Compare both with the coordinator, use the agreed one, and run the study again",
            "本院 study.toml 与方案所列研究方案不符；未发送任何数据。"
            "请与协调方核对，改用约定版本后重新运行研究",
        )


class OtherMedium(Refusal):
    """A home whose pseudonyms come from another key drive than the one it joined with."""

    def __init__(self) -> None:
        super().__init__(
            "the pseudonyms of this home come from another key drive than when it joined, or from "
            "trial keys where the plan is of real patients; nothing was sent. Find out who "
            "changed the key drive, then join again",
            "本目录的研究编号来自与加入时不同的密钥盘，或方案涉及真实患者而此处为试用密钥；"
            "未发送任何数据。请查明密钥盘变更原因后重新加入",
        )


class ClosedGate(Refusal):
    """A lake that does not pass its own gate."""

    def __init__(self) -> None:
        super().__init__(
            "the quality gate of this hospital is closed; nothing was sent. `lakehouse status` "
            "names the rules that close it",
            "本院质控未放行；未发送任何数据。`lakehouse status` 会列出未通过的规则",
        )


class OtherKindOfRows(Refusal):
    """Simulated patients where the plan is of real ones, or the other way round."""

    def __init__(self) -> None:
        super().__init__(
            "simulated and real patients would be mixed: the plan is of the one and rows of this "
            "lake are of the other; nothing was sent. Correct `simulated` in the plan, or use the "
            "study's home",
            "模拟患者与真实患者会混在一起：方案与本数据湖中的数据行种类不同；未发送任何数据。"
            "请更正方案中的 simulated，或改用研究所在目录",
        )


class NoEligiblePatients(Refusal):
    """A hospital without a patient of the plan's population."""

    def __init__(self) -> None:
        super().__init__(
            "this hospital has no patient of the plan's population with the plan's outcome; "
            "nothing was sent. Wait until there are some, or ask for a plan without this hospital",
            "本院没有符合方案人群且结局已知的患者；未发送任何数据。请待有患者后再运行，"
            "或请求不含本院的方案",
        )


class OneClassOnly(Refusal):
    """A hospital whose patients all have the same outcome: its part would state it of each."""

    def __init__(self) -> None:
        super().__init__(
            "all patients of this hospital have the same outcome, so that a sum could state it of "
            "each of them; nothing was sent. Wait until there are patients of both classes",
            "本院所有患者结局相同，总和可能揭示每名患者的结局；未发送任何数据。"
            "请待两类患者都有后再运行",
        )


class ColumnsMissing(Refusal):
    """Columns of a plan that this hospital's lake does not have for the plan's task."""

    def __init__(self, columns: Iterable[str]) -> None:
        names = ", ".join(columns)
        super().__init__(
            f"the lake has no column {names} for this task; nothing was sent. Correct the plan, "
            "or run the study until the column is there",
            f"该任务在数据湖中没有列 {names}；未发送任何数据。请更正方案，或运行研究直至该列可用",
        )


class ColumnsNotStable(Refusal):
    """Features of a plan that this hospital's own checks do not accept."""

    def __init__(self, columns: Iterable[str]) -> None:
        names = ", ".join(columns)
        super().__init__(
            f"the features {names} are not stable by this hospital's own reads; nothing was sent. "
            "Leave them out of the plan",
            f"特征 {names} 按本院阅片结果不稳定；未发送任何数据。请从方案中去除",
        )


class NotHarmonised(Refusal):
    """Batches that ComBat cannot be estimated for."""

    def __init__(self) -> None:
        super().__init__(
            "ComBat cannot be estimated: a batch has too few patients, a column does not vary in "
            "one, or covariates repeat each other. Correct batches and columns of the plan",
            "无法估计 ComBat：某批次患者过少、某列在批次内无变化，或协变量相互重复。"
            "请更正方案中的批次与列",
        )


class ClockOff(Refusal):
    """Hospitals whose clock differs from the others'."""

    def __init__(self, hospitals: Iterable[str], minutes: float) -> None:
        names = ", ".join(sorted(hospitals))
        super().__init__(
            f"the clock of {names} is more than {minutes:g} minutes from those of the others: "
            "ledgers and certificates go by it. Set it by a time server, then start a new run",
            f"{names} 的时钟与其他医院相差超过 {minutes:g} 分钟：台账与证书均依赖时钟。"
            "请与时间服务器校时后重新运行",
        )


# -- plans -----------------------------------------------------------------------------------------


class PlanUnusable(Refusal):
    """A plan with faults; each is named."""

    def __init__(self, en: list[str], zh: list[str]) -> None:
        self.faults = tuple(en)
        super().__init__(
            "the plan cannot be used: " + "; ".join(en) + ". Correct it, and check it again",
            "方案无法使用：" + "；".join(zh) + "。请更正后重新检查",
        )


# -- what a hospital gives away --------------------------------------------------------------------


class BudgetSpent(Refusal):
    """A step that would cost more than is left of the hospital's budget."""

    def __init__(self, epsilon: float, budget: float) -> None:
        super().__init__(
            f"with this step ε would be {epsilon:.4g} and this hospital's budget is {budget:.4g}: "
            "it is spent. Plan fewer steps or more noise; the budget is for the life of the cohort",
            f"加上本步 ε 将达 {epsilon:.4g}，本院预算为 {budget:.4g}，已用尽。"
            "请减少步数或增加噪声；预算对该队列终身有效",
        )


class PlanNotAllowed(Refusal):
    """A plan that this hospital has not allowed, or no longer allows."""

    def __init__(self, plan: str) -> None:
        super().__init__(
            f"the plan {plan[:12]} is not allowed at this hospital; read it, and allow it first",
            f"本院未批准方案 {plan[:12]}；请先审阅并批准",
        )


class RoundSpent(Refusal):
    """A round of a run that is in the ledger already."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"round {number} of this run is in this hospital's ledger already; start a new run",
            f"本次运行的第 {number} 轮已记入本院台账；请重新运行",
        )


class OtherHospitals(Refusal):
    """A query that was answered before with another group of hospitals."""

    def __init__(self, changed: Iterable[str]) -> None:
        names = ", ".join(sorted(changed))
        super().__init__(
            f"this query was answered before and the hospitals differ now by {names}: the "
            "difference of the two answers would be of them alone. Ask it of the same hospitals",
            f"该查询此前已应答，本次医院构成相差 {names}：两次结果之差将只反映这些医院。"
            "请向同一组医院查询",
        )


class OtherCohort(Refusal):
    """An exact query that was answered before from other rows."""

    def __init__(self) -> None:
        super().__init__(
            "this query was answered before without noise and this hospital's rows have changed "
            "since: the difference of the two answers would be of a few patients. Plan it with "
            "noise",
            "该查询此前已无噪声应答，而本院数据行已有变化：两次结果之差将只反映少数患者。"
            "请在方案中加入噪声",
        )


class NotThisHospital(Refusal):
    """A ledger of another hospital, or a step that this hospital has no part in."""

    def __init__(self, hospital: str) -> None:
        super().__init__(
            f"the ledger is of the hospital {hospital}, which has no part in this step or is "
            "another one; use the home of the hospital that takes part",
            f"台账属于医院 {hospital}，该院未参加本步或并非本院；请使用参加医院的数据目录",
        )


class LedgerDamaged(Refusal):
    """A ledger that was edited, cut or lost; `line` is the first that does not follow, from 1."""

    def __init__(self, line: int, what: str, zh: str) -> None:
        self.line = line
        super().__init__(
            f"the ledger of federated runs cannot be used: line {line} {what}. Nothing is sent "
            "until it is restored from the newest backup",
            f"联邦运行台账无法使用：第 {line} 行{zh}。从最新备份恢复前不会发送任何数据",
        )


class LedgerRolledBack(Refusal):
    """A ledger that is older than one that was seen before."""

    def __init__(self, hospital: str, found: int, seen: int) -> None:
        super().__init__(
            f"the ledger of {hospital} has {found} lines of the {seen} that were there before, or "
            "others in their place: an older copy was restored. What was spent since is missing. "
            "Restore the newest copy",
            f"{hospital} 的台账现有 {found} 行，此前为 {seen} 行，或内容不同：恢复了旧副本，"
            "其后的支出缺失。请恢复最新副本",
        )
