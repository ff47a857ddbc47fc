"""The lake's tables: the only place where they are declared.

A table's columns, their units and their meaning are declared with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dagster_project.lake.columns import (
    AMENDMENTS,
    DAY,
    FEATURE,
    FINGERPRINT,
    FROM_VISIT,
    GATE,
    IRECIST_RESPONSES,
    LESION,
    MODEL,
    MODEL_VERSION,
    NONTARGET_RESPONSES,
    PAGE_CODE_PATTERN,
    PATIENT,
    PROTOCOL_DIGEST,
    READER,
    REASON,
    RECIST_RESPONSES,
    REGION,
    SCAN,
    SIMULATED,
    SITE,
    SNAPSHOT,
    STANDARD_DIGEST,
    STANDARD_VERSION,
    TARGET_RESPONSES,
    TASK,
    TO_VISIT,
    VISIT,
    VISIT_PATTERN,
    Column,
    boolean,
    date,
    integer,
    number,
    string,
    texts,
    timestamp,
)

Group = Literal[
    "case_report", "imaging", "reading", "response", "heterogeneity", "modelling", "quality"
]


@dataclass(frozen=True)
class Table:
    """One table: its key is unique, `by_site` says that a site's rows are replaced on their own."""

    name: str
    group: Group
    en: str
    zh: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    by_site: bool = False
    minimum_rows: int = 0

    def column(self, name: str) -> Column:
        """The column of that name; KeyError where there is none."""
        return {c.name: c for c in self.columns}[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(c.name for c in self.columns)


CONTRADICTORY = "contradictory"
"""Value of `patients.consent` that holds a patient out of every table.

It stays until a person clarifies whether consent was withdrawn.
"""

PATIENTS = Table(
    "patients",
    "case_report",
    "One row per patient: baseline data from the case report",
    "每名患者一行：病例报告的基线资料",
    key=("site", "patient"),
    by_site=True,
    minimum_rows=1,
    columns=(
        SITE,
        PATIENT,
        string("sex", "Sex", "性别", nullable=True, allowed=("F", "M")),
        integer(
            "age_years",
            "Age at the first cycle; above 89 given as 90",
            "首周期时年龄；89岁以上记为90",
            unit="a",
            nullable=True,
            minimum=0,
            maximum=90,
        ),
        string(
            "smoking",
            "Smoking history",
            "吸烟史",
            nullable=True,
            allowed=("never", "former", "current"),
        ),
        integer(
            "ecog",
            "ECOG performance status",
            "ECOG体能状态评分",
            nullable=True,
            minimum=0,
            maximum=5,
        ),
        string(
            "stage",
            "Clinical stage (TNM)",
            "临床分期",
            nullable=True,
            pattern=r"^(?:I|II|III|IV)[ABC]?[1-3]?$",
        ),
        string(
            "histology",
            "Histology or cytology",
            "病理类型",
            nullable=True,
            allowed=(
                "adenocarcinoma",
                "squamous_cell_carcinoma",
                "large_cell_carcinoma",
                "adenosquamous_carcinoma",
                "nsclc_nos",
                "small_cell_carcinoma",
                "other",
            ),
        ),
        string("egfr", "EGFR status", "EGFR状态", nullable=True, allowed=("mutant", "wild_type")),
        string("alk", "ALK status", "ALK状态", nullable=True, allowed=("rearranged", "negative")),
        number(
            "pd_l1_tps",
            "PD-L1 tumour proportion score",
            "PD-L1肿瘤细胞阳性比例分数",
            unit="%",
            nullable=True,
            minimum=0,
            maximum=100,
        ),
        integer("line", "Line of treatment", "治疗线数", nullable=True, minimum=1, maximum=9),
        string(
            "regimen",
            "Drugs of the regimen, generic names joined by +",
            "治疗方案：通用名，以+连接",
            nullable=True,
        ),
        boolean(
            "prior_malignancy", "Other malignancy in the history", "既往恶性肿瘤", nullable=True
        ),
        boolean(
            "organ_dysfunction",
            "Severe heart, lung, liver or kidney insufficiency",
            "严重心、肺、肝、肾功能不全",
            nullable=True,
        ),
        boolean(
            "target_radiotherapy",
            "Radiotherapy to the target lesion before baseline",
            "基线前靶病灶放疗史",
            nullable=True,
        ),
        string(
            "consent",
            "Consent",
            "知情同意",
            nullable=True,
            allowed=("given", "withdrawn", CONTRADICTORY),
        ),
        boolean(
            "in_case_report",
            "False where scans came without a case-report row",
            "是否有病例报告；仅有影像者为否",
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

TREATMENTS = Table(
    "treatments",
    "case_report",
    "One row per administered cycle",
    "每个给药周期一行",
    key=("site", "patient", "cycle"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        integer("cycle", "Number of the cycle", "周期序号", minimum=1, maximum=99),
        date(
            "treatment_date",
            "Date of the cycle, shifted; NULL where it is missing or was refused",
            "给药日期（已偏移）；缺失或被退回时为空",
            nullable=True,
        ),
        DAY,
        string(
            "drugs",
            "Drugs given, generic names joined by +",
            "所给药物：通用名，以+连接",
            nullable=True,
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

FOLLOW_UP = Table(
    "follow_up",
    "case_report",
    "One row per event or last contact",
    "每次事件或末次随访一行",
    key=("site", "patient", "number"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        integer(
            "number",
            "Number of the patient's event, by date; one without a date comes last",
            "该患者事件的序号（按日期；无日期者在后）",
            minimum=1,
        ),
        date(
            "event_date",
            "Date of the event, shifted; NULL where it is missing or was refused",
            "事件日期（已偏移）；缺失或被退回时为空",
            nullable=True,
        ),
        DAY,
        string(
            "event",
            "What happened",
            "事件",
            allowed=(
                "alive",
                "progression_clinical",
                "death",
                "new_therapy",
                "lost",
                "off_treatment",
            ),
        ),
        string(
            "detail",
            "Detail, where it matches the study's vocabulary",
            "详情（仅限研究词表内）",
            nullable=True,
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

CLINICAL_STATUS = Table(
    "clinical_status",
    "case_report",
    "One row per day on which a patient's clinical state was recorded; NULL where it was not",
    "患者临床状态每个记录日一行；未记录者为空",
    key=("site", "patient", "status_date"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        date("status_date", "Day of the record, shifted", "记录日期（已偏移）"),
        DAY,
        PATIENTS.column("ecog"),
        boolean(
            "new_symptoms",
            "New symptoms of the tumour since the last visit",
            "自上次访视以来是否有新发肿瘤相关症状",
            nullable=True,
        ),
        boolean(
            "clinically_stable",
            "Clinically stable in the sense of iRECIST, as the physician judged",
            "医生判断是否临床稳定（iRECIST）",
            nullable=True,
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

RECONCILIATION = Table(
    "reconciliation",
    "case_report",
    "Whom rows and images do not name alike, with nearly equal numbers as a question",
    "病例报告与影像对不上的患者，以及号码相近者（待核对）",
    key=("site", "finding", "patient", "item", "other_patient"),
    by_site=True,
    columns=(
        SITE,
        string(
            "patient",
            "Pseudonym; * for rows whose number is no patient's",
            "患者研究编号；号码不属于任何患者时为*",
        ),
        string(
            "finding",
            "What is missing: images, the row, or any patient of that number",
            "缺少的内容：影像、病例报告行，或该号码对应的患者",
            allowed=("row_without_images", "images_without_row", "rows_of_nobody"),
        ),
        string(
            "item",
            "Place without a value: file and row, or how much there is of images",
            "位置：文件与行号，或影像数量",
            published=False,
        ),
        string(
            "other_patient",
            "A patient whose number is nearly the same; * for none",
            "号码相近的患者；无则为*",
        ),
        string(
            "question",
            "What to do, and what to ask the hospital; nothing is joined by itself",
            "处理建议与需向医院核对的问题；系统不会自行合并",
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

SCANS = Table(
    "scans",
    "imaging",
    "One row per CT series: geometry, acquisition, artifact figures",
    "每个CT序列一行：几何、采集参数与伪影指标",
    key=("site", "scan"),
    by_site=True,  # may be empty: a hospital's case report often comes before its images
    columns=(
        SITE,
        PATIENT,
        SCAN,
        string(
            "series_instance_uid", "SeriesInstanceUID (0020,000E), keyed", "序列UID（已加密替换）"
        ),
        string(
            "study_instance_uid", "StudyInstanceUID (0020,000D), keyed", "检查UID（已加密替换）"
        ),
        string(
            "frame_of_reference_uid",
            "FrameOfReferenceUID (0020,0052), keyed",
            "坐标系UID（已加密替换）",
            nullable=True,
        ),
        date(
            "scan_date",
            "AcquisitionDate, else SeriesDate or StudyDate, shifted",
            "扫描日期（已偏移）",
            nullable=True,
        ),
        DAY,
        string("manufacturer", "Manufacturer (0008,0070)", "设备厂商", nullable=True),
        string(
            "manufacturer_model_name",
            "ManufacturerModelName (0008,1090)",
            "设备型号",
            nullable=True,
        ),
        string("kernel", "ConvolutionKernel (0018,1210)", "重建卷积核", nullable=True),
        number(
            "kvp", "KVP (0018,0060)", "管电压", unit="kV", nullable=True, minimum=0, maximum=400
        ),
        boolean("contrast", "Contrast agent named in (0018,0010)", "是否使用对比剂", nullable=True),
        integer(
            "series_number",
            "SeriesNumber (0020,0011), counted anew within the study from 1",
            "序列号（检查内重新编号，自1起）",
            nullable=True,
        ),
        boolean(
            "axial_original",
            "Axial images of ImageType (0008,0008) ORIGINAL\\PRIMARY, no localiser",
            "是否为原始横断面图像",
            nullable=True,
        ),
        number(
            "slice_thickness_mm",
            "SliceThickness (0018,0050)",
            "标称层厚",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "slice_spacing_mm",
            "Median distance of neighbouring slices from ImagePositionPatient",
            "由图像位置测得的层间距中位数",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "largest_gap_mm",
            "Largest distance of neighbouring slices",
            "最大层间距",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        integer("n_slices", "Slices used", "层数", minimum=0),
        integer(
            "n_missing_slices", "Slices missing by the measured spacing", "缺失层数", minimum=0
        ),
        integer("n_duplicate_slices", "Slices at a position already taken", "重复层数", minimum=0),
        integer(
            "n_repeated_slices",
            "Of these, slices of another acquisition, left out whole",
            "其中属于另一次采集而整体舍去的层数",
            minimum=0,
        ),
        integer("rows", "Rows (0028,0010)", "行数", minimum=1),
        integer("columns", "Columns (0028,0011)", "列数", minimum=1),
        number(
            "pixel_spacing_row_mm",
            "PixelSpacing (0028,0030), between rows",
            "像素行间距",
            unit="mm",
            minimum=0,
        ),
        number(
            "pixel_spacing_column_mm",
            "PixelSpacing (0028,0030), between columns",
            "像素列间距",
            unit="mm",
            minimum=0,
        ),
        number(
            "gantry_tilt_deg",
            "Angle between the slice normal and the stacking direction",
            "机架倾角",
            unit="deg",
            nullable=True,
            minimum=0,
            maximum=90,
        ),
        boolean("lossy", "Lossy compression in the image's history", "是否有损压缩", nullable=True),
        number(
            "metal_volume_mm3",
            "Volume of the connected components of at least 3000 HU",
            "金属体积（≥3000 HU）",
            unit="mm3",
            nullable=True,
            minimum=0,
        ),
        number(
            "streak_hu",
            "Standard deviation around metal above that of the same tissue elsewhere; "
            "0 without metal",
            "金属周围条纹强度",
            unit="HU",
            nullable=True,
            minimum=0,
        ),
        boolean(
            "metal_flag", "Metal artifact above the study's limit", "金属伪影超限", nullable=True
        ),
        number(
            "motion_score",
            "Displacement of the body outline between neighbouring slices, worst slice",
            "相邻层体表轮廓位移（最大值）",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        boolean(
            "motion_flag", "Motion artifact above the study's limit", "运动伪影超限", nullable=True
        ),
        boolean(
            "truncated_flag",
            "Body cut by the edge of the field of view",
            "身体被视野截断",
            nullable=True,
        ),
        number(
            "air_hu",
            "Median of the air around and inside the body; wrong rescale where not near -1000",
            "空气HU中位数",
            unit="HU",
            nullable=True,
        ),
        boolean("rescale_flag", "Air is not near -1000 HU", "空气HU偏离-1000", nullable=True),
        number(
            "noise_hu",
            "Noise in homogeneous soft tissue",
            "软组织噪声",
            unit="HU",
            nullable=True,
            minimum=0,
        ),
        boolean(
            "noise_flag",
            "Noise above the study's limit (photon starvation)",
            "噪声超限（光子饥饿）",
            nullable=True,
        ),
        number(
            "lung_fraction",
            "Share of the body that is lung",
            "肺占身体的比例",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        boolean(
            "chest_flag",
            "False where the scan does not look like a chest",
            "是否为胸部扫描",
            nullable=True,
        ),
        boolean(
            "reader_artifact_flag",
            "A reader's own flag, where one was given; it wins",
            "阅片者伪影标记（优先）",
            nullable=True,
        ),
        string(
            "pixel_digest", "SHA-256 of the pixels in HU and their geometry", "像素与几何的SHA-256"
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

TIMEPOINTS = Table(
    "timepoints",
    "imaging",
    "Which scan is T0, T1, T2 or a later visit, and why",
    "各访视对应的扫描及选择理由",
    key=("site", "patient", "visit"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        VISIT,
        SCAN,
        date(
            "scan_date", "Date of the chosen scan, shifted", "所选扫描日期（已偏移）", nullable=True
        ),
        DAY,
        string("selection_reason", "Rule and preference by which the scan was chosen", "选择理由"),
        texts(
            "alternative_scans", "Other series of the same visit, best first", "同访视其他候选序列"
        ),
        texts(
            "changed_since_t0",
            "What changed since T0: scanner, kernel, contrast, kvp",
            "相对T0的变化：设备、卷积核、对比剂、管电压",
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

READS = Table(
    "reads",
    "reading",
    "One row per reader, lesion and scan, as that reader judged and outlined it",
    "每位阅片者、每个病灶、每次扫描一行",
    key=("site", "patient", "scan", "reader", "lesion"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        VISIT,
        SCAN,
        READER,
        LESION,
        string(
            "reader_label",
            "What this reader calls the lesion; `lesion` is its name with all readers",
            "该阅片者所用的病灶编号；lesion为统一后的编号",
            nullable=True,
        ),
        string(
            "role",
            "Role of the lesion in RECIST",
            "病灶在RECIST中的角色",
            allowed=("target", "non_target", "new"),
        ),
        string("organ", "Organ", "器官", nullable=True),
        boolean("is_lymph_node", "True for a lymph node", "是否淋巴结"),
        boolean("is_present", "False where the lesion has vanished", "病灶是否存在"),
        boolean("too_small_to_measure", "Present but too small to measure", "存在但过小无法测量"),
        string(
            "nontarget_state",
            "State of a non-target lesion",
            "非靶病灶状态",
            nullable=True,
            allowed=("CR", "NON_CR_NON_PD", "PD", "NE"),
        ),
        boolean(
            "unequivocal", "True where a new lesion is unequivocal", "新病灶是否明确", nullable=True
        ),
        string(
            "mask_source",
            "Where the outline came from",
            "轮廓来源",
            allowed=("RTSTRUCT", "SEG", "NIFTI", "NRRD", "NONE"),
        ),
        string(
            "border_rule",
            "How voxels on the border were decided",
            "边界体素规则",
            nullable=True,
            allowed=("even_odd_pixel_centres", "voxels_as_given", "fraction_at_least_half"),
        ),
        Column(
            "voxel_count",
            "int64",
            "Voxels of the mask on the CT grid",
            "掩膜体素数",
            nullable=True,
            minimum=0,
        ),
        number(
            "volume_mm3",
            "Volume of the mask: voxels times voxel volume",
            "掩膜体积",
            unit="mm3",
            nullable=True,
            minimum=0,
        ),
        number(
            "mean_hu", "Mean of the CT within the mask", "掩膜内平均HU", unit="HU", nullable=True
        ),
        number(
            "longest_diameter_mm",
            "Longest diameter in a slice plane, from pixel corner to pixel corner, "
            "or as measured by hand",
            "层面内最长径",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "short_axis_mm",
            "Longest diameter perpendicular to the longest diameter in the same slice",
            "同层垂直短径",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        string(
            "measurement_source",
            "Whether the diameters were measured on the mask or by hand",
            "径线来源",
            nullable=True,
            allowed=("mask", "hand"),
        ),
        integer(
            "diameter_slice",
            "Slice of the longest diameter, from 0 along the stacking direction",
            "最长径所在层（自0起）",
            nullable=True,
            minimum=0,
        ),
        Column(
            "diameter_ends_mm",
            "string",
            "End points of the longest diameter: x1,y1,z1;x2,y2,z2 in patient coordinates",
            "最长径端点（患者坐标）",
            unit="mm",
            nullable=True,
        ),
        number(
            "centroid_x_mm",
            "Centroid of the mask, patient coordinate x",
            "质心x坐标",
            unit="mm",
            nullable=True,
        ),
        number(
            "centroid_y_mm",
            "Centroid of the mask, patient coordinate y",
            "质心y坐标",
            unit="mm",
            nullable=True,
        ),
        number(
            "centroid_z_mm",
            "Centroid of the mask, patient coordinate z",
            "质心z坐标",
            unit="mm",
            nullable=True,
        ),
        integer(
            "n_outside",
            "Contours or voxels that lie outside the images",
            "落在图像外的轮廓或体素数",
            minimum=0,
        ),
        Column(
            "outline_flags",
            "list<string>",
            "What is odd about the outline, by code (domain/imaging/outlines.py FLAGS); "
            "NULL without an outline",
            "轮廓的异常标记；无轮廓为空",
            nullable=True,
        ),
        string("mask_digest", "SHA-256 of the mask on the CT grid", "掩膜SHA-256", nullable=True),
        string(
            "outline_source",
            "SHA-256 of the file that the outline was delivered in, and its label there",
            "轮廓所在文件的SHA-256及其标签",
            nullable=True,
        ),
        timestamp(
            "locked_at",
            "When the reader locked the read; NULL while it is open",
            "阅片锁定时间；未锁定为空",
            nullable=True,
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

LESION_LOCATIONS = Table(
    "lesion_locations",
    "reading",
    "Where each lesion that a reader knows is proposed to lie on a later scan, by the lungs of "
    "both scans; nothing is measured by it",
    "每位阅片者已知的病灶在后续扫描上的建议位置（依两次扫描的肺配准）；仅供提示，不用于测量",
    key=("site", "patient", "visit", "reader", "lesion"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        VISIT,
        string("scan", "CT series that the place lies on", "建议位置所在的CT序列"),
        READER,
        LESION,
        string(
            "from_visit",
            "Last earlier visit at which the reader outlined the lesion",
            "该阅片者此前最后一次勾画该病灶的访视",
            nullable=True,
            pattern=VISIT_PATTERN,
        ),
        string("from_scan", "CT series of that outline", "该轮廓所在的CT序列", nullable=True),
        string(
            "method",
            "How the place was found: rigid registration of the lungs; NULL without a place",
            "定位方法：肺刚性配准；无建议位置时为空",
            nullable=True,
            allowed=("rigid_lungs",),
        ),
        number(
            "correlation",
            "Correlation of the densities of both scans in and around the lungs after registration",
            "配准后两次扫描肺及其周围密度的相关系数",
            nullable=True,
            minimum=-1,
            maximum=1,
        ),
        number(
            "shared_lungs",
            "Share of the smaller lungs that both scans show",
            "两次扫描共同显示的肺占较小一侧的比例",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        *(
            number(
                f"{axis}_mm",
                f"Proposed place on the scan, patient coordinate {axis} (LPS)",
                f"建议位置的患者坐标{axis}（LPS）",
                unit="mm",
                nullable=True,
            )
            for axis in ("x", "y", "z")
        ),
        integer(
            "voxel_column",
            "Nearest voxel: column of the slice, from 0",
            "最近体素：层内列号（自0起）",
            nullable=True,
            minimum=0,
        ),
        integer(
            "voxel_row",
            "Nearest voxel: row of the slice, from 0",
            "最近体素：层内行号（自0起）",
            nullable=True,
            minimum=0,
        ),
        integer(
            "voxel_slice",
            "Nearest voxel: slice, from 0 along the stacking direction",
            "最近体素：层号（沿层叠方向自0起）",
            nullable=True,
            minimum=0,
        ),
        number(
            "distance_mm",
            "From the place to the centroid of the reader's own outline on that scan; "
            "NULL where there is none",
            "建议位置至该阅片者在该扫描上所勾画轮廓质心的距离；无轮廓时为空",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        texts(
            "flags",
            "far_from_place: outlined so far from the place that it may be another lesion",
            "far_from_place：所勾画处距建议位置过远，可能不是同一病灶",
        ),
        REASON,
        SIMULATED,
        FINGERPRINT,
    ),
)

RADIOMIC_FEATURES = Table(
    "radiomic_features",
    "imaging",
    "One row per feature of a region of a lesion as one reader outlined it",
    "每个影像组学特征一行（病灶×区域×阅片者）",
    key=("site", "scan", "lesion", "reader", "region", "feature"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        VISIT,
        SCAN,
        LESION,
        READER,
        REGION,
        FEATURE,
        number(
            "value",
            "Value of the feature, in the feature's own unit; "
            "NULL with a reason where it cannot exist",
            "特征值；无法计算时为空并给出原因",
            nullable=True,
        ),
        REASON,
        number(
            "region_volume_mm3",
            "Volume of the region: of the tumour as outlined, of a ring after resampling",
            "区域体积（肿瘤按勾画所在网格计算，瘤周环按重采样后计算）",
            unit="mm3",
            nullable=True,
            minimum=0,
        ),
        string(
            "settings_digest",
            "Digest of the radiomics settings of the protocol",
            "影像组学设置摘要",
        ),
        string("engine", "Engine and version that computed it", "计算引擎与版本"),
        SIMULATED,
        FINGERPRINT,
    ),
)

CONTROL_FEATURES = Table(
    "control_features",
    "imaging",
    "Features of the tumour measured again on purpose: what must stay (copies, repeat scans) "
    "and what must tell nothing (shuffled, muscle)",
    "为质控而重复测量的瘤体特征：应保持不变者（扰动副本、同日重复扫描）与应无信息者（打乱体素、移入肌肉）",
    key=("site", "scan", "lesion", "reader", "control_type", "replicate", "feature"),
    by_site=True,
    columns=(
        SITE,
        PATIENT,
        VISIT,
        SCAN,
        LESION,
        READER,
        string(
            "control_type",
            "perturbed: moved, new noise, outlined anew; repeat: the other scan of that day; "
            "shuffled: voxels in another order; muscle: mask moved into muscle",
            "perturbed：移动、换噪声、重勾画；repeat：同日另一次扫描；shuffled：体素打乱；muscle：掩膜移入肌肉",
            allowed=("perturbed", "repeat", "shuffled", "muscle"),
        ),
        integer(
            "replicate",
            "Number of the copy or repeat, from 1; 0 for shuffled and muscle",
            "副本或重复扫描编号（从1起）；打乱与肌肉为0",
            minimum=0,
        ),
        FEATURE,
        number(
            "value",
            "Value of the feature, in the feature's own unit; "
            "NULL with a reason where it cannot exist",
            "特征值；无法计算时为空并给出原因",
            nullable=True,
        ),
        REASON,
        number(
            "region_volume_mm3",
            "Volume of the tumour: as outlined, of a perturbed copy after resampling",
            "肿瘤体积（按勾画所在网格计算，扰动副本按重采样后计算）",
            unit="mm3",
            nullable=True,
            minimum=0,
        ),
        SIMULATED,
        FINGERPRINT,
    ),
)

READER_AGREEMENT = Table(
    "reader_agreement",
    "reading",
    "Agreement of the two readers: one row per lesion-visit pair, "
    "and a row per scope and measurement",
    "两名阅片者的一致性",
    key=("scope", "site", "patient", "visit", "lesion", "measurement"),
    columns=(
        string(
            "scope",
            "What the row is about: one lesion at one visit, one site, one visit, or the cohort",
            "统计范围",
            allowed=("lesion", "site", "visit", "cohort"),
        ),
        string("site", "Site, or * for all", "医院；*表示全部"),
        string("patient", "Patient, or * for all", "患者；*表示全部"),
        string("visit", "Visit, or * for all", "访视；*表示全部"),
        string("lesion", "Lesion, or * for all", "病灶；*表示全部"),
        string(
            "measurement",
            "What was compared",
            "比较的测量",
            allowed=("longest_diameter_mm", "short_axis_mm", "volume_mm3", "mask"),
        ),
        integer(
            "n",
            "Pairs that icc_raw is over: the pool's, where the site has too few",
            "icc_raw所用配对数（本院不足时为合并后）",
            minimum=0,
        ),
        integer(
            "n_resolved",
            "Pairs that icc_resolved is over, without those that an arbiter settled: "
            "the pool's, where the site has too few",
            "icc_resolved所用配对数（去除仲裁；本院不足时为合并后）",
            minimum=0,
        ),
        number(
            "arbitrated_share",
            "Share of the lesion-visits that were arbitrated",
            "仲裁比例",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "icc_raw",
            "ICC(2,1) over all pairs; ICC(1,1), as the reason says, where pairs have other readers",
            "全部配对的ICC(2,1)；各配对的阅片者不同时为ICC(1,1)，见reason",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_raw_lower",
            "Lower 95 % bound of icc_raw",
            "icc_raw的95%下限",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_raw_upper",
            "Upper 95 % bound of icc_raw",
            "icc_raw的95%上限",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_resolved",
            "ICC(2,1) over the pairs settled without an arbiter",
            "未经仲裁配对的ICC(2,1)",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_lower",
            "Lower 95 % bound of icc_resolved",
            "icc_resolved的95%下限",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_upper",
            "Upper 95 % bound of icc_resolved",
            "icc_resolved的95%上限",
            nullable=True,
            maximum=1,
        ),
        number(
            "bias",
            "Mean difference, second reader minus first (Bland-Altman), in the measurement's unit",
            "平均差（第二阅片者减第一）",
            nullable=True,
        ),
        number("loa_lower", "Lower limit of agreement", "一致性下限", nullable=True),
        number("loa_upper", "Upper limit of agreement", "一致性上限", nullable=True),
        number(
            "dice_median",
            "Dice of the two masks (median over the scope)",
            "Dice系数（中位数）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "dice_minimum",
            "Smallest Dice of the scope",
            "最小Dice",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        string(
            "pooled_with",
            "Sites judged together where one has too few pairs",
            "样本不足时合并评估的医院",
            nullable=True,
        ),
        REASON,
        boolean(
            "simulated", "True where any row of the scope is simulated", "范围内是否含模拟数据"
        ),
    ),
)

ARBITRATIONS = Table(
    "arbitrations",
    "reading",
    "One row per patient whose two reads differ by the protocol's triggers",
    "两份阅片不一致而需仲裁的患者",
    key=("site", "patient"),
    columns=(
        SITE,
        PATIENT,
        string(
            "status",
            "Open until an arbiter has endorsed one whole read",
            "状态",
            allowed=("open", "settled"),
        ),
        texts("triggers", "Which triggers were met, with visit and lesion", "触发条件"),
        integer("n_lesion_visits", "Lesion-visits of the case", "病灶-访视数", minimum=1),
        string("reader_a", "First reader", "阅片者A"),
        string("reader_b", "Second reader", "阅片者B"),
        string(
            "accepted_reader",
            "Reader whose whole read was endorsed",
            "被采纳的阅片者",
            nullable=True,
        ),
        string("arbiter", "Who decided; neither of the two readers", "仲裁者", nullable=True),
        timestamp("decided_at", "When it was decided", "裁决时间", nullable=True),
        SIMULATED,
    ),
)

READER_FIGURES = Table(
    "reader_figures",
    "reading",
    "Further figures of the two readers: every form of ICC, bounds by patient, "
    "masks' distances, kappa, monitoring",
    "两名阅片者的其他一致性与监测指标",
    key=(
        "scope",
        "site",
        "patient",
        "visit",
        "lesion",
        "reader",
        "month",
        "measurement",
        "statistic",
    ),
    columns=(
        string(
            "scope",
            "What the row is about: one lesion at one visit, one site, one visit, one reader, "
            "or the cohort",
            "统计范围",
            allowed=("lesion", "site", "visit", "reader", "cohort"),
        ),
        string("site", "Site, or * for all", "医院；*表示全部"),
        string("patient", "Patient, or * for all", "患者；*表示全部"),
        string("visit", "Visit, or * for all", "访视；*表示全部"),
        string("lesion", "Lesion, or * for all", "病灶；*表示全部"),
        string("reader", "Reader, or * for all", "阅片者；*表示全部"),
        string(
            "month",
            "Month of the lock, 01 that of the reader's first, or * for all",
            "锁定月份（01为该阅片者首次锁定之月）；*表示全部",
        ),
        string(
            "measurement",
            "What the figure is of",
            "指标对象",
            allowed=(
                "longest_diameter_mm",
                "short_axis_mm",
                "volume_mm3",
                "sum_change_mm",
                "response",
                "mask",
                "case",
            ),
        ),
        string("statistic", "Name of the statistic", "指标名称"),
        integer("n", "Pairs, patients or cases it is based on", "样本数", minimum=0),
        number("value", "The figure", "指标值", nullable=True),
        number("lower", "Lower 95 % bound, or lower limit of agreement", "95%下限", nullable=True),
        number("upper", "Upper 95 % bound, or upper limit of agreement", "95%上限", nullable=True),
        string(
            "verdict",
            "Given, or by name why it may not be leant on; never a pass",
            "判定",
            allowed=("given", "too_few", "no_variance", "identical", "no_bounds", "not_defined"),
        ),
        REASON,
        boolean(
            "simulated", "True where any row of the scope is simulated", "范围内是否含模拟数据"
        ),
    ),
)
LESIONS = Table(
    "lesions",
    "reading",
    "The accepted read of every lesion at every visit",
    "各病灶各访视被采纳的阅片结果",
    key=("site", "patient", "visit", "lesion"),
    columns=(
        SITE,
        PATIENT,
        VISIT,
        SCAN,
        LESION,
        string("reader", "Reader whose read is accepted", "被采纳的阅片者"),
        string(
            "acceptance_basis",
            "Agreement, arbitration, a single reader, or provisional while a case is open",
            "采纳依据",
            allowed=("agreement", "arbitration", "single_reader", "provisional"),
        ),
        integer("n_readers", "Readers who read the lesion", "阅片者人数", minimum=1),
        *(
            READS.column(name)
            for name in (
                "role",
                "organ",
                "is_lymph_node",
                "is_present",
                "too_small_to_measure",
                "nontarget_state",
                "unequivocal",
                "voxel_count",
                "volume_mm3",
                "mean_hu",
                "longest_diameter_mm",
                "short_axis_mm",
                "centroid_x_mm",
                "centroid_y_mm",
                "centroid_z_mm",
                "outline_flags",
                "mask_digest",
            )
        ),
        SIMULATED,
    ),
)

ELIGIBILITY = Table(
    "eligibility",
    "response",
    "One row per patient and criterion, with verdict and evidence",
    "每名患者每条标准一行，含结论与依据",
    key=("site", "patient", "criterion"),
    minimum_rows=1,
    columns=(
        SITE,
        PATIENT,
        string(
            "criterion",
            "Inclusion I1-I9, exclusion E1-E5",
            "入选I1-I9，排除E1-E5",
            allowed=(
                "I1",
                "I2",
                "I3",
                "I4",
                "I5",
                "I6",
                "I7",
                "I8",
                "I9",
                "E1",
                "E2",
                "E3",
                "E4",
                "E5",
            ),
        ),
        string(
            "verdict",
            "met: the patient passes this criterion; missing data is unknown",
            "met为通过；资料缺失为unknown",
            allowed=("met", "not_met", "unknown"),
        ),
        string(
            "evidence",
            "Table, column and scan that the verdict is based on",
            "结论依据（表、列、扫描）",
        ),
        SIMULATED,
    ),
)

RESPONSES = Table(
    "responses",
    "response",
    "Response at each visit as of that visit: RECIST 1.1 and iRECIST",
    "各访视当时的RECIST 1.1与iRECIST疗效",
    key=("site", "patient", "visit", "evaluator"),
    columns=(
        SITE,
        PATIENT,
        VISIT,
        string(
            "evaluator",
            "accepted for the accepted read, else the reader",
            "评估者；accepted为被采纳的阅片",
        ),
        date("scan_date", "Date of the visit's scan, shifted", "扫描日期（已偏移）", nullable=True),
        DAY,
        number(
            "sum_mm",
            "Sum of the target diameters; NULL where one is missing",
            "靶病灶径线总和",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "baseline_sum_mm", "Sum at baseline", "基线总和", unit="mm", nullable=True, minimum=0
        ),
        number(
            "nadir_mm",
            "Smallest sum at evaluable visits before this one",
            "此前最小总和",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "new_lesion_sum_mm",
            "iSumNL: sum of the measured new lesions",
            "新病灶径线总和（iSumNL）",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "change_from_baseline_percent",
            "Change of the sum from baseline",
            "较基线变化",
            unit="%",
            nullable=True,
        ),
        number(
            "change_from_nadir_percent",
            "Change of the sum from nadir",
            "较最低点变化",
            unit="%",
            nullable=True,
        ),
        string(
            "target_response_arithmetic",
            "Target response by this visit's sums alone",
            "仅按径线计算的靶病灶疗效",
            allowed=TARGET_RESPONSES,
        ),
        string(
            "target_response",
            "Target response, SD not re-assigned after PR",
            "靶病灶疗效",
            allowed=TARGET_RESPONSES,
        ),
        string(
            "nontarget_response", "Non-target response", "非靶病灶疗效", allowed=NONTARGET_RESPONSES
        ),
        boolean(
            "new_lesion",
            "An unequivocal new lesion, "
            "or an equivocal one later confirmed as of its first appearance",
            "是否有新病灶",
        ),
        string(
            "overall_response",
            "Overall response by RECIST 1.1",
            "RECIST 1.1总体疗效",
            allowed=RECIST_RESPONSES,
        ),
        string(
            "overall_response_as_of_visit",
            "Overall response by RECIST 1.1 by what was known at this visit; "
            "a doubtful new lesion that a later visit made certain does not count yet",
            "仅凭截至该访视的信息得出的RECIST 1.1总体疗效",
            allowed=RECIST_RESPONSES,
        ),
        string(
            "irecist_response",
            "Overall response by iRECIST as of this visit",
            "截至该访视的iRECIST疗效",
            allowed=IRECIST_RESPONSES,
        ),
        string("rule", "The rule that gave the overall response", "得出疗效的规则"),
        timestamp(
            "recorded_at",
            "When this row's content first stood in the lake; it is valid from scan_date",
            "该行内容首次入湖时间；自scan_date起有效",
        ),
        SIMULATED,
    ),
)

IRECIST_BLOCKS = Table(
    "irecist_blocks",
    "response",
    "Blocks of unconfirmed progression by iRECIST: since when, what is due, "
    "and what would confirm or reset",
    "iRECIST未确认进展区段：起始、到期事项，以及何种结果会确认或重置",
    key=("site", "patient", "evaluator", "block"),
    columns=(
        SITE,
        PATIENT,
        RESPONSES.column("evaluator"),
        integer("block", "Number of the patient's block, by date", "该患者区段序号", minimum=1),
        string(
            "opened_visit",
            "Visit of the iUPD that opened it",
            "开启该区段的iUPD访视",
            pattern=VISIT_PATTERN,
        ),
        integer(
            "opened_day",
            "Its day from the first cycle",
            "开启日（距首周期）",
            unit="d",
            nullable=True,
        ),
        texts(
            "categories",
            "Where progression began: T targets, NT non-targets, NL new lesions",
            "进展起始类别：T靶病灶，NT非靶病灶，NL新病灶",
        ),
        string(
            "outcome",
            "What became of it, by a CT or an event; it does not move with the calendar",
            "区段结局（由CT或事件决定，不随日历变化）",
            allowed=("open", "reset", "confirmed", "closed"),
        ),
        string(
            "status",
            "As of as_of_date: the outcome, or of an open block waiting (before the window), due, "
            "overdue (past the window), standing (neither confirmed nor reset) or unreadable (iNE)",
            "截至as_of_date的状态：结局；未结束者为waiting窗口前、due窗口内、overdue已逾期、"
            "standing未确认亦未重置、unreadable不可评价",
            allowed=(
                "waiting",
                "due",
                "overdue",
                "standing",
                "unreadable",
                "reset",
                "confirmed",
                "closed",
            ),
            published=False,
        ),
        string(
            "resolved_visit",
            "Visit that confirmed or reset it",
            "确认或重置的访视",
            nullable=True,
            pattern=VISIT_PATTERN,
        ),
        integer(
            "resolved_day",
            "Day of that visit, or of the event that closed it, from the first cycle",
            "确认、重置或关闭之日（距首周期）",
            unit="d",
            nullable=True,
        ),
        string(
            "resolved_by",
            "Response that confirmed or reset it, or event that closed it",
            "确认或重置的疗效，或关闭该区段的事件",
            nullable=True,
            allowed=(*IRECIST_RESPONSES, "death", "new_therapy", "lost", "off_treatment"),
        ),
        integer(
            "days_open",
            "From the iUPD to its end, or to as_of_date",
            "自iUPD至结束或as_of_date的天数",
            unit="d",
            nullable=True,
            minimum=0,
            published=False,
        ),
        number(
            "nadir_mm",
            "Smallest sum before the iUPD",
            "iUPD之前的最小总和",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "sum_at_open_mm",
            "Sum of the target diameters at the iUPD",
            "iUPD时靶病灶径线总和",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "smallest_since_mm",
            "Smallest sum since the iUPD, CTs too early to confirm left out",
            "自iUPD以来的最小总和（过早的CT不计）",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        integer(
            "confirm_from_day",
            "First day of the window in which a CT can confirm, from the first cycle",
            "确认窗口首日（距首周期）",
            unit="d",
            nullable=True,
        ),
        integer(
            "confirm_to_day",
            "Last day of the window, from the first cycle",
            "确认窗口末日（距首周期）",
            unit="d",
            nullable=True,
        ),
        number(
            "confirm_if_sum_mm",
            "A sum of at least this confirms",
            "总和达到此值即确认",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        number(
            "reset_below_mm",
            "Below this sum the targets are not progressed any more, "
            "which resets a block that began in targets alone",
            "总和低于此值时靶病灶不再为进展；仅由靶病灶开启的区段随之重置",
            unit="mm",
            nullable=True,
            minimum=0,
        ),
        texts("confirms_also", "What else confirms", "其他可确认的情形"),
        integer(
            "planned_scan_day",
            "Day of the next planned CT, from the first cycle",
            "下次计划CT日（距首周期）",
            unit="d",
            nullable=True,
            published=False,
        ),
        boolean(
            "planned_inside",
            "Whether that day is inside the window",
            "计划CT日是否在确认窗口内",
            nullable=True,
            published=False,
        ),
        boolean(
            "readers_agree",
            "Whether all readers have a block of this visit with this outcome",
            "各阅片者的区段是否一致",
            nullable=True,
        ),
        date(
            "as_of_date",
            "Day on which this was so, shifted as the patient's dates",
            "截止日期（按该患者日期偏移）",
            published=False,
        ),
        STANDARD_VERSION,
        STANDARD_DIGEST,
        REASON,
        SIMULATED,
    ),
)

DYNAMIC_EVIDENCE = Table(
    "dynamic_evidence",
    "response",
    "Evidence beside the state of each visit, as of that visit: how sure a change is, "
    "and what became of progressions like it",
    "各访视当时的依据：变化的可靠程度，以及同类进展的结局",
    key=("site", "patient", "visit", "item"),
    columns=(
        SITE,
        PATIENT,
        VISIT,
        DAY,
        string(
            "item",
            "What the value is of",
            "依据项目",
            allowed=(
                "margin_of_progression",
                "change_from_baseline_mm",
                "change_from_baseline_percent",
                "change_from_nadir_mm",
                "change_from_nadir_percent",
                "change_from_last_mm",
                "change_from_last_percent",
                "growth_per_30_days",
                "change_of_log_volume",
                "new_lesion_sum",
                "new_lesion_sum_change",
                "lesions_growing",
                "lesions_shrinking",
                "dissociated",
                "readers_agree",
                "dhi",
                "changes_of_the_scan",
                "comparison_class",
            ),
        ),
        number("value", "The value; NULL with its reason", "数值；为空时附原因", nullable=True),
        string("unit", "Unit of the value", "单位"),
        string(
            "direction",
            "Whether the change is for the worse or the better by more than reader error",
            "变化方向（超出阅片误差者）",
            nullable=True,
            allowed=("worse", "better", "within_error"),
        ),
        string(
            "text",
            "What belongs to the value: reader error and its source, states, name of the class",
            "数值说明：阅片误差及其来源、各阅片者状态、类别名称",
            nullable=True,
        ),
        integer(
            "class_n",
            "Progressions of the class that were scanned again",
            "该类中复查过的进展数",
            nullable=True,
            minimum=0,
        ),
        integer("class_confirmed", "Of these confirmed", "其中已确认数", nullable=True, minimum=0),
        integer("class_reset", "Of these reset", "其中已重置数", nullable=True, minimum=0),
        number(
            "confirmed_lower",
            "Exact lower 95 % bound of the share confirmed",
            "确认比例95%精确下限",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "confirmed_upper",
            "Exact upper 95 % bound of the share confirmed",
            "确认比例95%精确上限",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "reset_lower",
            "Exact lower 95 % bound of the share reset",
            "重置比例95%精确下限",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "reset_upper",
            "Exact upper 95 % bound of the share reset",
            "重置比例95%精确上限",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        string("class_source", "Whose progressions these are", "类别数据来源", nullable=True),
        date(
            "as_of_date",
            "Date of the visit's scan, shifted: nothing later is known",
            "该访视扫描日期（已偏移）；不含此后信息",
            nullable=True,
        ),
        STANDARD_VERSION,
        STANDARD_DIGEST,
        REASON,
        SIMULATED,
    ),
)

IUPD_COHORT = Table(
    "iupd_cohort",
    "response",
    "What the next evaluable CT showed of each unconfirmed progression of the accepted read: "
    "labels in hindsight, and no response",
    "各未确认进展在下次可评价CT时的结局（采纳的阅片）：事后标签，非疗效",
    key=("site", "patient", "block"),
    columns=(
        SITE,
        PATIENT,
        IRECIST_BLOCKS.column("block"),
        IRECIST_BLOCKS.column("opened_visit"),
        IRECIST_BLOCKS.column("opened_day"),
        string(
            "opened_at",
            "Whether that is the first visit after baseline or a later one",
            "开启于首次随访或后续随访",
            allowed=("first", "later"),
        ),
        number(
            "margin",
            "How far the sum lay above progression, in errors of a difference between two readers; "
            "NULL where progression did not begin in targets",
            "径线总和超出进展界限的幅度（以阅片误差计）；非始于靶病灶者为空",
            unit="reader errors",
            nullable=True,
        ),
        integer(
            "margin_class",
            "Number of its class, by [dynamic] class_edges",
            "余量类别序号（见[dynamic] class_edges）",
            nullable=True,
            minimum=0,
        ),
        string("class_label", "The class in words", "类别名称", nullable=True),
        string(
            "next_visit",
            "First CT since that is neither iNE nor too early to confirm",
            "此后首次可评价且不过早的CT访视",
            nullable=True,
            pattern=VISIT_PATTERN,
        ),
        integer(
            "days_to_next",
            "From the iUPD to that CT",
            "自iUPD至该CT的天数",
            unit="d",
            nullable=True,
            minimum=0,
        ),
        replace(
            RESPONSES.column("irecist_response"),
            name="next_response",
            nullable=True,
            en="iRECIST response at that CT",
            zh="该CT的iRECIST疗效",
        ),
        string(
            "next_outcome",
            "What that CT made of the block; NULL with the reason without one",
            "该CT对区段的结局；无则为空并附原因",
            nullable=True,
            allowed=("confirmed", "reset", "open"),
        ),
        IRECIST_BLOCKS.column("outcome"),
        STANDARD_VERSION,
        STANDARD_DIGEST,
        REASON,
        SIMULATED,
    ),
)

OUTCOMES = Table(
    "outcomes",
    "response",
    "One row per patient: best responses and progression-free survival",
    "每名患者一行：最佳疗效与无进展生存",
    key=("site", "patient"),
    columns=(
        SITE,
        PATIENT,
        string(
            "bor",
            "Best overall response, confirmation not required",
            "最佳总体疗效（无需确认）",
            nullable=True,
            allowed=RECIST_RESPONSES,
        ),
        string(
            "bor_confirmed",
            "Best overall response, confirmed after at least 28 days",
            "最佳总体疗效（需确认）",
            nullable=True,
            allowed=RECIST_RESPONSES,
        ),
        string(
            "ibor",
            "Best overall response by iRECIST",
            "iRECIST最佳总体疗效",
            nullable=True,
            allowed=IRECIST_RESPONSES,
        ),
        boolean("responder", "bor is CR or PR", "是否应答者", nullable=True),
        number(
            "best_change_percent",
            "Smallest change of the sum from baseline",
            "径线总和最佳变化",
            unit="%",
            nullable=True,
        ),
        integer(
            "pfs_days",
            "From the first cycle to progression, death or censoring",
            "无进展生存时间",
            unit="d",
            nullable=True,
            minimum=0,
        ),
        boolean("pfs_event", "True for progression or death", "是否发生事件", nullable=True),
        string(
            "pfs_reason",
            "Row of the censoring table that gave the date",
            "事件或删失依据",
            nullable=True,
        ),
        integer(
            "pfs_from_t2_days",
            "The same from T2, for the patients still at risk then",
            "自T2起的无进展生存",
            unit="d",
            nullable=True,
            minimum=0,
        ),
        boolean("pfs_from_t2_event", "Event after T2", "T2后是否发生事件", nullable=True),
        integer(
            "icpd_day",
            "Day of the iUPD that was confirmed",
            "确认进展对应的首次iUPD日",
            unit="d",
            nullable=True,
        ),
        boolean(
            "pseudoprogression",
            "RECIST PD followed by PR or CR against baseline (definition D1)",
            "假性进展（D1）",
            nullable=True,
        ),
        boolean(
            "pseudoprogression_d1_nadir",
            "PD followed by PR or CR against nadir",
            "假性进展（D1，相对最低点）",
            nullable=True,
        ),
        boolean(
            "pseudoprogression_d2",
            "PD followed by SD, PR or CR against baseline",
            "假性进展（D2）",
            nullable=True,
        ),
        boolean(
            "pseudoprogression_d2_nadir",
            "PD followed by SD, PR or CR against nadir",
            "假性进展（D2，相对最低点）",
            nullable=True,
        ),
        REASON,
        SIMULATED,
    ),
)
TIME_TO_EVENT = Table(
    "time_to_event",
    "response",
    "Survival times: each end point by each version of its censoring, "
    "from the first cycle and from T2",
    "生存时间：各终点、各删失版本、自首周期与自T2起",
    key=("site", "patient", "endpoint", "version", "origin"),
    columns=(
        SITE,
        PATIENT,
        string(
            "endpoint",
            "pfs, dor (duration of response, responders alone) or os",
            "终点",
            allowed=("pfs", "dor", "os"),
        ),
        string(
            "version",
            "main, or what the sensitivity analysis counts otherwise",
            "主要分析或敏感性分析版本",
            allowed=(
                "main",
                "new_therapy_event",
                "clinical_progression_event",
                "missed_visits_event",
                "irecist",
            ),
        ),
        string(
            "origin",
            "Where days are counted from",
            "起点",
            allowed=("first_cycle", "T2", "response"),
        ),
        integer(
            "days",
            "From the origin to event or censoring; NULL where it cannot be counted",
            "时间",
            unit="d",
            nullable=True,
            minimum=0,
        ),
        boolean("event", "True for an event", "是否发生事件", nullable=True),
        string(
            "reason", "Row of the censoring table, or why there is no time", "事件、删失或缺失依据"
        ),
        SIMULATED,
    ),
)

_OF_SITE = string("site", "Hospital, or * for all together", "医院；*表示全部")
_POPULATION = string(
    "population",
    "eligible: eligible patients whose reads wait for no arbiter; "
    "all: everyone who waits for none, since nobody is eligible yet",
    "eligible：符合入排标准且无待裁决者；all：尚无合格患者时的全部无待裁决患者",
    allowed=("eligible", "all"),
)


def _median(name: str, en: str, zh: str) -> tuple[Column, Column, Column]:
    """A median of days, and its bounds."""
    facts = {"unit": "d", "nullable": True, "minimum": 0}
    return (
        number(f"{name}_days", f"{en}; NULL where it is not reached", f"{zh}；未达到为空", **facts),
        number(f"{name}_lower_days", f"{en}, lower 95 % bound", f"{zh}的95%下限", **facts),
        number(f"{name}_upper_days", f"{en}, upper 95 % bound", f"{zh}的95%上限", **facts),
    )


SURVIVAL_CURVES = Table(
    "survival_curves",
    "response",
    "Kaplan-Meier estimate of each end point, one row per day on which a patient's time ends; "
    "before the first of them survival is 1",
    "各终点的Kaplan-Meier估计：每个有患者时间终止的日一行；首日之前生存率为1",
    key=("site", "endpoint", "version", "origin", "day"),
    columns=(
        _OF_SITE,
        _POPULATION,
        *(TIME_TO_EVENT.column(name) for name in ("endpoint", "version", "origin")),
        integer("day", "Days from the origin", "距起点的天数", unit="d", minimum=0),
        integer("n_at_risk", "Patients at risk on that day", "该日处于风险中的患者数", minimum=0),
        integer("n_events", "Events on that day", "该日事件数", minimum=0),
        integer("n_censored", "Patients censored on that day", "该日删失数", minimum=0),
        number(
            "survival",
            "Share without an event after that day",
            "该日之后无事件的比例",
            minimum=0,
            maximum=1,
        ),
        number(
            "lower",
            "Lower 95 % bound by the log-log transform; NULL where survival is 0",
            "95%下限（log-log变换）；生存率为0时为空",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "upper",
            "Upper 95 % bound by the log-log transform; NULL where survival is 0",
            "95%上限（log-log变换）；生存率为0时为空",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        SIMULATED,
    ),
)

SURVIVAL_MEDIANS = Table(
    "survival_medians",
    "response",
    "Median time to event, and median follow-up by the reverse Kaplan-Meier method, "
    "of each end point",
    "各终点的中位时间，及反向Kaplan-Meier法的中位随访时间",
    key=("site", "endpoint", "version", "origin"),
    columns=(
        _OF_SITE,
        _POPULATION,
        *(TIME_TO_EVENT.column(name) for name in ("endpoint", "version", "origin")),
        integer("n_patients", "Patients with a time", "有时间的患者数", minimum=1),
        integer("n_events", "Events", "事件数", minimum=0),
        *_median("median", "Median time to event", "至事件的中位时间"),
        *_median("follow_up", "Median follow-up", "中位随访时间"),
        SIMULATED,
    ),
)

RESPONSE_RATES = Table(
    "response_rates",
    "response",
    "Response rates of the cohort and of each hospital, with exact intervals; "
    "who has no best response counts as without response",
    "全队列及各医院的缓解率与精确置信区间；尚无最佳疗效者计为未缓解",
    key=("site", "rate"),
    columns=(
        _OF_SITE,
        _POPULATION,
        string(
            "rate",
            "orr: best response CR or PR; orr_confirmed: confirmed; dcr: disease control, SD too; "
            "iorr: iCR or iPR by iRECIST",
            "orr：客观缓解率；orr_confirmed：经确认；dcr：疾病控制率；iorr：iRECIST缓解率",
            allowed=("orr", "orr_confirmed", "dcr", "iorr"),
        ),
        integer("n_counted", "Patients with such a response", "达到该疗效的患者数", minimum=0),
        integer("n_patients", "Patients of the population", "人群患者数", minimum=1),
        number("value", "Share of the patients", "比例", minimum=0, maximum=1),
        number(
            "lower",
            "Lower 95 % bound (Clopper-Pearson)",
            "95%下限（Clopper-Pearson）",
            minimum=0,
            maximum=1,
        ),
        number(
            "upper",
            "Upper 95 % bound (Clopper-Pearson)",
            "95%上限（Clopper-Pearson）",
            minimum=0,
            maximum=1,
        ),
        SIMULATED,
    ),
)

FEATURE_STABILITY = Table(
    "feature_stability",
    "imaging",
    "How far readers, perturbed copies and repeat scans of one lesion move a feature",
    "阅片者、扰动副本与重复扫描对特征的影响",
    key=("region", "feature"),
    columns=(
        REGION,
        FEATURE,
        integer(
            "n_pairs",
            "Lesion-visits whose feature exists in both locked reads",
            "两份锁定阅片均有该特征的病灶-访视数",
            minimum=0,
        ),
        number("icc", "ICC(2,1) between the readers", "阅片者间ICC(2,1)", nullable=True, maximum=1),
        number(
            "icc_lower",
            "Lower 95 % bound of icc, clustered by patient",
            "icc的95%下限（按患者聚类）",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_upper",
            "Upper 95 % bound of icc, clustered by patient",
            "icc的95%上限（按患者聚类）",
            nullable=True,
            maximum=1,
        ),
        number(
            "within_sd",
            "Within-lesion standard deviation between the readers, in the feature's unit",
            "病灶内阅片者间标准差（特征单位）",
            nullable=True,
            minimum=0,
        ),
        integer(
            "n_lesions_perturbed",
            "Lesions all of whose perturbed copies have the feature; of the tumour alone",
            "全部扰动副本均有该特征的病灶数（仅瘤体）",
            minimum=0,
        ),
        number(
            "icc_perturbation",
            "ICC(1,1) between the perturbed copies of a lesion",
            "扰动副本间ICC(1,1)",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_perturbation_lower",
            "Lower 95 % bound of icc_perturbation, clustered by patient",
            "icc_perturbation的95%下限（按患者聚类）",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_perturbation_upper",
            "Upper 95 % bound of icc_perturbation, clustered by patient",
            "icc_perturbation的95%上限（按患者聚类）",
            nullable=True,
            maximum=1,
        ),
        number(
            "within_sd_perturbation",
            "Within-lesion standard deviation between the copies, in the feature's unit",
            "病灶内副本间标准差（特征单位）",
            nullable=True,
            minimum=0,
        ),
        integer(
            "n_lesions_repeated",
            "Lesions measured by one reader on two scans of one day",
            "同日两次扫描由同一阅片者测量的病灶数",
            minimum=0,
        ),
        number(
            "icc_repeat",
            "ICC(1,1) between the two scans; NULL while no site has repeats",
            "同日两次扫描间ICC(1,1)；无重复扫描时为空",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_repeat_lower",
            "Lower 95 % bound of icc_repeat, clustered by patient",
            "icc_repeat的95%下限（按患者聚类）",
            nullable=True,
            maximum=1,
        ),
        number(
            "icc_repeat_upper",
            "Upper 95 % bound of icc_repeat, clustered by patient",
            "icc_repeat的95%上限（按患者聚类）",
            nullable=True,
            maximum=1,
        ),
        number(
            "within_sd_repeat",
            "Within-lesion standard deviation between the two scans, in the feature's unit",
            "病灶内两次扫描间标准差（特征单位）",
            nullable=True,
            minimum=0,
        ),
        boolean(
            "stable",
            "True where icc_lower, and icc_perturbation_lower where copies exist, "
            "reach the protocol's limit; no outcome has a part in it",
            "icc_lower及（有副本时）icc_perturbation_lower是否达到方案限值（不涉及结局）",
        ),
        REASON,
        SIMULATED,
    ),
)

DELTA_FEATURES = Table(
    "delta_features",
    "heterogeneity",
    "Change of a feature of the accepted read between two visits",
    "被采纳阅片的特征在两次访视间的变化",
    key=("site", "patient", "lesion", "region", "feature", "from_visit", "to_visit"),
    columns=(
        SITE,
        PATIENT,
        LESION,
        REGION,
        FEATURE,
        FROM_VISIT,
        TO_VISIT,
        integer("days", "Days between the two scans", "两次扫描间隔", unit="d", nullable=True),
        number(
            "delta", "Later minus earlier value, in the feature's unit", "绝对变化", nullable=True
        ),
        number(
            "delta_symmetric",
            "Difference over the mean of the absolute values: -2 to 2",
            "对称相对变化（-2至2）",
            nullable=True,
            minimum=-2,
            maximum=2,
        ),
        number(
            "delta_per_day",
            "Difference over the days between",
            "每日变化",
            unit="1/d",
            nullable=True,
        ),
        number(
            "slope_per_day",
            "Least-squares slope over the days of T0, T1 and T2; on the row of T0 and T2 alone",
            "T0、T1、T2按实际天数的最小二乘斜率（仅T0-T2行）",
            unit="1/d",
            nullable=True,
        ),
        number(
            "curvature_per_day",
            "Change a day from T1 to T2 minus that from T0 to T1; on the row of T0 and T2 alone",
            "T1-T2日变化减T0-T1日变化（仅T0-T2行）",
            unit="1/d",
            nullable=True,
        ),
        REASON,
        SIMULATED,
        FINGERPRINT,
    ),
)

DHI = Table(
    "dhi",
    "heterogeneity",
    "Dynamic Heterogeneity Index of a lesion or patient between two visits",
    "动态异质性指数",
    key=("site", "patient", "scope", "lesion", "from_visit", "to_visit"),
    columns=(
        SITE,
        PATIENT,
        string(
            "scope",
            "One lesion, or the patient: volume-weighted mean of the lesions",
            "病灶或患者（体积加权平均）",
            allowed=("lesion", "patient"),
        ),
        string("lesion", "Lesion, or * for the patient", "病灶；*表示患者"),
        FROM_VISIT,
        TO_VISIT,
        number(
            "texture",
            "T: RMS of the changes of the texture features in repeatability units",
            "纹理分量T",
            nullable=True,
            minimum=0,
        ),
        number(
            "density",
            "D: location-free 2-Wasserstein distance of the densities, in standard deviations",
            "密度分量D",
            nullable=True,
            minimum=0,
        ),
        number(
            "spatial",
            "S: change of arrangement beyond change of composition",
            "空间分量S",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "radial",
            "R: change of the correlation between density and depth below the surface",
            "径向分量R：密度与深度相关系数的变化",
            nullable=True,
            minimum=0,
            maximum=2,
        ),
        number(
            "u_texture",
            "Texture over the lesion's own null",
            "纹理分量/零分布",
            nullable=True,
            minimum=0,
        ),
        number(
            "u_density",
            "Density over the lesion's own null",
            "密度分量/零分布",
            nullable=True,
            minimum=0,
        ),
        number(
            "u_spatial",
            "Spatial over the lesion's own null",
            "空间分量/零分布",
            nullable=True,
            minimum=0,
        ),
        number(
            "u_radial",
            "Radial over the lesion's own null",
            "径向分量/零分布",
            nullable=True,
            minimum=0,
        ),
        number(
            "dhi",
            "sqrt(mean u^2) over its 95th percentile on repeats: "
            "above 1 exceeds what noise, position and contour explain; "
            "NULL where the kernel or maker changed, slices are thick, or the lesion is small",
            "DHI；大于1表示超出噪声、位置与轮廓所能解释；卷积核或厂商改变、层厚过大或病灶过小时为空",
            nullable=True,
            minimum=0,
        ),
        number(
            "dhi_magnitude",
            "How much the lesion changed beyond its repeat error, "
            "in repeat errors of a lesion of 10 ml: comparable between lesions of any size; "
            "shrinking of a real tumour alone raises it",
            "超出重复误差的变化量，以10 ml病灶的重复误差为单位，不同大小的病灶可比；"
            "真实肿瘤单纯缩小亦可使其升高",
            nullable=True,
            minimum=0,
        ),
        boolean(
            "calibrated",
            "True where enough calibration lesions stood behind the limits to speak of DHI > 1",
            "校准病灶数是否足以判定DHI>1",
        ),
        number(
            "dhi_maximum",
            "Largest DHI of the patient's lesions",
            "患者病灶DHI最大值",
            nullable=True,
            minimum=0,
        ),
        number(
            "dhi_spread",
            "Standard deviation of DHI between the patient's lesions",
            "患者病灶间DHI标准差",
            nullable=True,
            minimum=0,
        ),
        number(
            "delta_median_hu",
            "Change of the median density",
            "密度中位数变化",
            unit="HU",
            nullable=True,
        ),
        number("delta_log_volume", "Change of ln(volume)", "ln(体积)变化", nullable=True),
        number("delta_log_sd", "Change of ln(standard deviation)", "ln(标准差)变化", nullable=True),
        number(
            "wasserstein_hu",
            "Comparator: centred 1-Wasserstein distance of the densities",
            "对照：中心化1-Wasserstein距离",
            unit="HU",
            nullable=True,
            minimum=0,
        ),
        integer(
            "n_voxels",
            "Voxels compared at each visit",
            "每次访视比较的体素数",
            nullable=True,
            minimum=0,
        ),
        REASON,
        SIMULATED,
        FINGERPRINT,
    ),
)

HABITATS = Table(
    "habitats",
    "heterogeneity",
    "Habitats of a lesion at a visit, by a frozen codebook of local density and spread: "
    "composition, neighbours, diversity",
    "病灶在访视时的生境（冻结的局部密度与离散度码本）：组成、邻接与多样性",
    key=("site", "patient", "visit", "lesion", "measure"),
    columns=(
        SITE,
        PATIENT,
        VISIT,
        SCAN,
        LESION,
        string(
            "measure",
            "n_voxels; fraction_k, share of habitat k, 1 the least dense; "
            "msi_i_j, share of neighbouring pairs of habitats i and j, 0 the outside; "
            "rao_q, shannon, simpson; moran_i of HU",
            "指标：n_voxels体素数；fraction_k第k生境占比（1密度最低）；msi_i_j生境i与j相邻对占比（0为病灶外）；"
            "rao_q、shannon、simpson多样性；moran_i空间自相关",
        ),
        number("value", "Value of the measure", "指标值", nullable=True),
        string(
            "codebook",
            "Version and fingerprint of the codebook, fitted once on the cohort for description; "
            "models fit their own within folds",
            "码本版本与指纹（全队列拟合一次，仅用于描述；模型在各折内另行拟合）",
            nullable=True,
        ),
        REASON,
        SIMULATED,
        FINGERPRINT,
    ),
)

TRAINING_COHORT = Table(
    "training_cohort",
    "modelling",
    "Which patients a task may learn from, with the row rule that excludes the others",
    "各任务的训练队列及排除原因",
    key=("site", "patient", "task"),
    columns=(
        SITE,
        PATIENT,
        TASK,
        boolean("included", "True where the patient is trained on", "是否纳入训练"),
        string(
            "exclusion", "First row rule that excludes the patient", "排除的首要规则", nullable=True
        ),
        boolean("label", "Response after the task's last visit", "标签：应答", nullable=True),
        string("label_definition", "What the label means", "标签定义"),
        SNAPSHOT,
        SIMULATED,
    ),
)

MODEL_RUNS = Table(
    "model_runs",
    "modelling",
    "One row per trained model: figures on patients it had not seen",
    "每个已训练模型一行：未见患者上的指标",
    key=("task", "model", "mlflow_run_id"),
    columns=(
        TASK,
        MODEL,
        MODEL_VERSION,
        string("mlflow_run_id", "Run in MLflow", "MLflow运行编号"),
        string(
            "alias",
            "Alias that the version holds in the registry now: champion or candidate",
            "该版本目前在注册表中的别名（champion或candidate）",
            nullable=True,
        ),
        string(
            "promotion",
            "Whether the rule of promotion made it the champion, not_due between two looks; "
            "NULL where it was not the candidate of its training",
            "晋级规则的结论（两次预设检验之间为not_due）；非待定模型为空",
            nullable=True,
            allowed=("promoted", "held_back", "not_due"),
        ),
        string(
            "promotion_reasons",
            "Every condition of promotion that it did not meet, or when the next look is",
            "未满足的晋级条件，或下一次检验的时点",
            nullable=True,
        ),
        integer("n_patients", "Patients of the cohort", "患者数", unit="patients", minimum=0),
        integer("n_positive", "Responders among them", "应答者数", unit="patients", minimum=0),
        integer("n_features", "Features offered", "候选特征数", minimum=0),
        number(
            "auc",
            "Area under the ROC curve, out of fold",
            "ROC曲线下面积（折外）",
            minimum=0,
            maximum=1,
        ),
        number(
            "auc_lower",
            "Lower 95 % bound: DeLong, with the variance for folds",
            "95%下限（DeLong法，按交叉验证折数校正方差）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "auc_upper",
            "Upper 95 % bound: DeLong, with the variance for folds",
            "95%上限（DeLong法，按交叉验证折数校正方差）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "sensitivity",
            "At the cut-off chosen on training folds",
            "敏感度",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "specificity",
            "At the cut-off chosen on training folds",
            "特异度",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "accuracy",
            "At the cut-off chosen on training folds",
            "准确率",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "ppv",
            "Share of true ones among positive calls, "
            "at the cohort's share of responders, which enrolment fixes",
            "阳性预测值（按入组固定的应答比例）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "npv",
            "Share of true ones among negative calls, "
            "at the cohort's share of responders, which enrolment fixes",
            "阴性预测值（按入组固定的应答比例）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "ppv_in_practice",
            "PPV by Bayes at [endpoints] target_prevalence; NULL where the label is not response",
            "按实际应答比例以贝叶斯公式换算的阳性预测值；标签非应答时为空",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "ppv_in_practice_lower",
            "Lower 95 % bound: logit scale, variance for folds, the share taken as known",
            "95%下限（logit法，按交叉验证折数校正方差，应答比例视为已知）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "ppv_in_practice_upper",
            "Upper 95 % bound: logit scale, variance for folds, the share taken as known",
            "95%上限（logit法，按交叉验证折数校正方差，应答比例视为已知）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "npv_in_practice",
            "NPV by Bayes at [endpoints] target_prevalence; NULL where the label is not response",
            "按实际应答比例以贝叶斯公式换算的阴性预测值；标签非应答时为空",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "npv_in_practice_lower",
            "Lower 95 % bound: logit scale, variance for folds, the share taken as known",
            "95%下限（logit法，按交叉验证折数校正方差，应答比例视为已知）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "npv_in_practice_upper",
            "Upper 95 % bound: logit scale, variance for folds, the share taken as known",
            "95%上限（logit法，按交叉验证折数校正方差，应答比例视为已知）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number("brier", "Brier score", "Brier分数", minimum=0, maximum=1),
        number(
            "cutoff",
            "Mean over folds of the cut-off chosen on training data (Youden)",
            "训练折上选定的截断值均值",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        string("cohort_digest", "Digest of the rows it was trained on", "训练数据摘要"),
        PROTOCOL_DIGEST,
        AMENDMENTS,
        SNAPSHOT,
        timestamp("trained_at", "When", "训练时间"),
        SIMULATED,
    ),
)

PREDICTIONS = Table(
    "predictions",
    "modelling",
    "Probability of response by models that had not seen the patient",
    "由未见过该患者的模型给出的应答概率",
    key=("site", "patient", "task", "model", "model_version"),
    columns=(
        SITE,
        PATIENT,
        TASK,
        MODEL,
        MODEL_VERSION,
        string(
            "alias",
            "Alias that the version holds in the registry: champion or candidate",
            "该版本在注册表中的别名（champion或candidate）",
            nullable=True,
        ),
        number("probability", "Probability of response", "应答概率", minimum=0, maximum=1),
        number(
            "lower",
            "Lower 95 % bound by the jackknife over the folds' models, "
            "for a patient held out over models without one more fold; "
            "NULL where [model] held_out_intervals does not ask for it",
            "各折模型刀切法95%下限；被留出的患者取再少一折的模型；"
            "未按[model] held_out_intervals要求时为空",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        number(
            "upper",
            "Upper 95 % bound by the jackknife over the folds' models, "
            "for a patient held out over models without one more fold; "
            "NULL where [model] held_out_intervals does not ask for it",
            "各折模型刀切法95%上限；被留出的患者取再少一折的模型；"
            "未按[model] held_out_intervals要求时为空",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        boolean("predicted_positive", "Above the cut-off of its fold", "是否高于截断值"),
        boolean(
            "observed_response",
            "Observed response; NULL for a patient outside the training cohort",
            "实际应答；训练队列之外的患者为空",
            nullable=True,
        ),
        integer(
            "fold",
            "Fold in which the patient was held out; "
            "NULL for a patient outside the training cohort",
            "被留出的折；训练队列之外的患者为空",
            nullable=True,
            minimum=0,
        ),
        number(
            "ensemble_sd",
            "Standard deviation of the probability between members and seeds; "
            "NULL for a single model",
            "成员与随机种子间概率标准差；单一模型为空",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        boolean(
            "abstained",
            "True where the members disagree by more than the protocol allows",
            "成员分歧超过方案限值而弃权",
            nullable=True,
        ),
        number(
            "ood_score",
            "Root mean square of the inputs' z-scores by the training patients: "
            "about 1 for one like them",
            "输入相对训练患者的z分数均方根，约1表示相似",
            nullable=True,
            minimum=0,
        ),
        string(
            "input_digest",
            "Digest of the patient's inputs; NULL for a patient held out",
            "患者输入数据摘要；被留出的患者为空",
            nullable=True,
        ),
        GATE,
        AMENDMENTS,
        SIMULATED,
    ),
)

ATTRIBUTIONS = Table(
    "attributions",
    "modelling",
    "What a patient's probability is based on, by the model that holds an alias",
    "持有别名的模型对每位患者概率的归因",
    key=("site", "patient", "task", "model", "model_version", "scope", "item"),
    columns=(
        SITE,
        PATIENT,
        TASK,
        MODEL,
        MODEL_VERSION,
        string(
            "scope",
            "What is told apart; "
            "items of scope block add up to the patient's logit less the baseline's",
            "归因层级；block各项之和为相对基线的logit差",
            allowed=("block", "feature", "region", "visit", "lesion", "member"),
        ),
        string(
            "item",
            "Block, feature, region (habitat_k of the fold's codebook among them), visit, lesion "
            "or member of the stack",
            "数据块、特征、区域（含折内码本的habitat_k）、访视、病灶或集成成员",
        ),
        number(
            "value",
            "Contribution to the logit: above 0 speaks for response",
            "对logit的贡献：大于0支持应答",
        ),
        number(
            "ensemble_sd",
            "Standard deviation between seeds; NULL where the model has none",
            "随机种子间标准差；无种子的模型为空",
            nullable=True,
            minimum=0,
        ),
        GATE,
        SIMULATED,
    ),
)

DYNAMIC_RISK = Table(
    "dynamic_risk",
    "response",
    "What is known of the risk at each visit, by question; NULL with the reason where it is "
    "withheld. It changes no response, state or advice",
    "各访视各问题的风险；不予展示者为空并附原因；不改变疗效、状态或建议",
    key=("site", "patient", "visit", "question", "horizon_days"),
    columns=(
        SITE,
        PATIENT,
        VISIT,
        DAY,
        string(
            "question",
            "Response, from baseline; response at the next visit of a patient who is stable; "
            "progression or death; an open block confirmed by the next evaluable CT",
            "问题：自基线的缓解；稳定者下次访视的缓解；进展或死亡；未结束区段在下次可评价CT时被确认",
            allowed=("response_from_baseline", "response_when_stable", "progression", "confirmed"),
        ),
        integer(
            "horizon_days",
            "Days from the visit within which progression or death is meant; 0 for other questions",
            "进展或死亡所指的天数（自该访视起）；其他问题为0",
            unit="d",
            minimum=0,
        ),
        *(
            number(
                name,
                f"{en}, {whose}; NULL with the reason where it is withheld",
                f"{zh}（{whose_zh}）；不予展示时为空并附原因",
                nullable=True,
                minimum=0,
                maximum=1,
            )
            for suffix, whose, whose_zh in (
                ("", "among patients as they were enrolled", "按入组人群"),
                (
                    "_in_practice",
                    "among patients with [endpoints] target_prevalence of responders",
                    "按[endpoints] target_prevalence的应答比例",
                ),
            )
            for name, en, zh in (
                (f"probability{suffix}", "Probability", "概率"),
                (f"probability{suffix}_lower", "Lower 95 % bound", "95%下限"),
                (f"probability{suffix}_upper", "Upper 95 % bound", "95%上限"),
            )
        ),
        number(
            "base_rate",
            "Share with the outcome in the population, as enrolled",
            "该人群中出现该结局的比例（按入组人群）",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        integer(
            "n",
            "Patients, landmarks or blocks behind the answer",
            "依据的患者、时点或区段数",
            nullable=True,
            minimum=0,
        ),
        integer(
            "events", "Of these with the outcome", "其中出现该结局数", nullable=True, minimum=0
        ),
        string(
            "compared",
            "higher or lower than the base rate, where the whole interval is; else NULL",
            "整个区间高于或低于基础率时为higher或lower，否则为空",
            nullable=True,
            allowed=("higher", "lower"),
        ),
        replace(PREDICTIONS.column("ood_score"), nullable=True),
        boolean(
            "in_population",
            "Whether the question is asked of this patient at this visit",
            "该访视时患者是否属于该问题的人群",
        ),
        boolean("withheld", "True where no number is shown", "是否不予展示"),
        string(
            "source",
            "What the answer is by: a response model, size alone, the supermodel of size, "
            "the same with a score of features, or the comparison class",
            "依据：应答模型、仅大小、大小合一模型、加入特征评分的合一模型或对照类别",
            nullable=True,
            allowed=("model", "size", "supermodel", "size_and_features", "class"),
        ),
        replace(MODEL, nullable=True),
        replace(MODEL_VERSION, nullable=True),
        STANDARD_VERSION,
        STANDARD_DIGEST,
        REASON,
        GATE,
        AMENDMENTS,
        SIMULATED,
    ),
)

DYNAMIC_IRECIST = Table(
    "dynamic_irecist",
    "response",
    "State, block and advice of each visit beside iRECIST; it advises and never changes a response",
    "动态iRECIST：各访视的状态、区段与建议；仅供参考，不改变疗效",
    key=("site", "patient", "visit"),
    columns=(
        SITE,
        PATIENT,
        VISIT,
        DAY,
        RESPONSES.column("overall_response"),
        RESPONSES.column("irecist_response"),
        string(
            "state",
            "Where the patient stands after this visit, by what was known then",
            "该访视后的状态（仅凭当时信息）",
            allowed=("controlled", "open", "reset", "confirmed", "closed", "not_gradable"),
        ),
        string(
            "block_status",
            "Status of the block at this visit; NULL where there is none",
            "该访视时区段的状态；无区段则为空",
            nullable=True,
            allowed=("waiting", "standing", "unreadable", "reset", "confirmed", "closed"),
        ),
        string(
            "advice",
            "What is due: the next CT, never a treatment",
            "到期事项：仅涉及下次CT，不涉及治疗",
            allowed=("ct_from_day_to_day", "bring_to_board", "as_scheduled", "none"),
        ),
        integer(
            "advice_from_day",
            "First day for the next CT, from the first cycle",
            "下次CT最早日（距首周期）",
            unit="d",
            nullable=True,
        ),
        integer(
            "advice_to_day",
            "Last day for the next CT, from the first cycle",
            "下次CT最晚日（距首周期）",
            unit="d",
            nullable=True,
        ),
        number(
            "change_from_baseline_percent",
            "Evidence: change of the sum of diameters",
            "依据：径线总和变化",
            unit="%",
            nullable=True,
        ),
        number(
            "dhi",
            "Evidence: DHI from T0 to this visit",
            "依据：自T0的DHI",
            nullable=True,
            minimum=0,
        ),
        STANDARD_VERSION,
        STANDARD_DIGEST,
        REASON,
        SIMULATED,
    ),
)

DYNAMIC_EVALUATION = Table(
    "dynamic_evaluation",
    "response",
    "The dynamic standard judged: each question beside its comparators, every decision replayed "
    "from what was known then; what n does not allow is NULL with its reason",
    "动态标准的评估：按当时信息逐次回放，各问题与对照比较；样本量不足者为空并附原因",
    key=("question", "population", "site", "comparator", "statistic"),
    columns=(
        string(
            "question",
            "What is judged",
            "评估问题",
            allowed=(
                "replay",
                "response_from_baseline",
                "response_when_stable",
                "progression",
                "survival",
                "second_progression",
                "block_outcome",
                "rescan",
                "timing",
                "reclassification",
                "stop",
                "sample",
            ),
        ),
        string(
            "population",
            "Visits or blocks it is judged on, by their number after baseline",
            "评估人群（按基线后访视次序）",
            allowed=("all", "first_visit", "second_visit", "third_visit", "later_visits"),
        ),
        string("site", "Hospital, or * for all", "医院；*表示全部"),
        string(
            "comparator",
            "What the figure is of: the standard, or what it is compared with",
            "指标所属：本标准或对照",
            allowed=(
                "standard",
                "recist",
                "irecist",
                "size",
                "size_and_nadir",
                "supermodel",
                "size_and_features",
                "margin",
                "class",
                "base_rate",
                "observed",
                "calendar",
                "planned",
            ),
        ),
        string("statistic", "Name of the statistic", "指标名称"),
        string(
            "unit",
            "1 for a statistic without a unit",
            "单位；1表示无量纲",
            allowed=("1", "share", "d", "patients"),
        ),
        number("value", "The figure", "指标值", nullable=True),
        number("lower", "Lower 95 % bound", "95%下限", nullable=True),
        number("upper", "Upper 95 % bound", "95%上限", nullable=True),
        integer("n", "Visits, blocks or patients it is based on", "样本数", minimum=0),
        integer("events", "Of these with the event", "其中事件数", nullable=True, minimum=0),
        boolean(
            "estimable",
            "Whether there is a value; where not, the reason says why",
            "是否可估计；不可估计者见原因",
        ),
        REASON,
        STANDARD_VERSION,
        STANDARD_DIGEST,
        SNAPSHOT,
        boolean(
            "simulated", "True where any row of the cohort is simulated", "队列内是否含模拟数据"
        ),
    ),
)

BOARD_DECISIONS = Table(
    "board_decisions",
    "response",
    "One row per decision of a tumour board, with the board page that the board looked at",
    "多学科讨论的决定，每个决定一行，并注明讨论时所看的讨论页",
    key=("site", "patient", "visit", "number"),
    columns=(
        SITE,
        PATIENT,
        VISIT,
        integer(
            "number",
            "Number of the decision on this patient and visit, in the order of the rows",
            "该患者该访视的决定序号（按行顺序）",
            minimum=1,
        ),
        date("decision_date", "Day of the board, shifted", "讨论日期（已偏移）"),
        DAY,
        string(
            "decision",
            "What the board decided",
            "讨论决定",
            allowed=("continue", "continue_and_rescan_early", "stop", "change", "other"),
        ),
        string(
            "decided_by",
            "Role of the person who recorded the decision",
            "记录决定者的角色",
            allowed=(
                "board_chair",
                "oncologist",
                "respiratory_physician",
                "radiologist",
                "radiation_oncologist",
                "thoracic_surgeon",
            ),
        ),
        CLINICAL_STATUS.column("clinically_stable"),
        integer(
            "next_ct_day",
            "Day of the next CT by the decision, from the first treatment cycle (day 0)",
            "决定的下次CT日（距首个治疗周期，第0天）",
            unit="d",
            nullable=True,
        ),
        string(
            "page_code",
            "Code of the board page that was looked at: a digest of the rows and settings on it",
            "讨论时所看讨论页的编号：该页所示数据行与设置的摘要",
            pattern=PAGE_CODE_PATTERN,
        ),
        string(
            "status",
            "Whether the page is as it was, has changed since, or two decisions contradict; "
            "contradictory ones are not used",
            "该页未变、此后已变，或两个决定相互矛盾（矛盾者均不采用）",
            allowed=("page_current", "page_superseded", "contradictory"),
        ),
        REASON,
        SIMULATED,
    ),
)

QUARANTINE = Table(
    "quarantine",
    "quality",
    "Every refused file, scan, read or row with its reason",
    "所有被退回（数据质疑）的文件、扫描、阅片或行及原因",
    key=("site", "stage", "item", "reason"),
    columns=(
        SITE,
        string(
            "stage",
            "Where it was refused",
            "退回环节",
            allowed=(
                "intake",
                "case_report",
                "scans",
                "timepoints",
                "reads",
                "radiomic_features",
                "lesion_locations",
                "control_features",
                "arbitrations",
                "dhi",
                "habitats",
                "board_decisions",
            ),
        ),
        string(
            "item",
            "Place without a value: file by digest, row by number, column by name, "
            "scan or lesion by label",
            "位置：文件摘要、行号、列名或标签",
        ),
        string("reason", "Why, and what to do", "原因与处理建议"),
        SIMULATED,
    ),
)

QUALITY_VERDICTS = Table(
    "quality_verdicts",
    "quality",
    "One row per rule and scope of the quality gate: statistic, threshold, verdict and snapshot",
    "质控放行规则的数值、限值与结论，每条规则与范围一行",
    key=("rule", "scope"),
    columns=(
        string("rule", "Rule's name", "规则名称"),
        string("scope", "Site, table or cohort it was evaluated on", "评估范围"),
        string(
            "kind",
            "A row rule excludes rows, a cohort rule closes the gate",
            "类型：行规则排除行，队列规则不予放行",
            allowed=("row", "cohort"),
        ),
        number("statistic", "What was measured", "测得值", nullable=True),
        number("threshold", "What the protocol requires", "限值", nullable=True),
        string(
            "verdict",
            "cannot_evaluate closes the gate as fail does",
            "结论",
            allowed=("pass", "warn", "fail", "cannot_evaluate"),
        ),
        string("detail", "The same in words", "说明"),
        PROTOCOL_DIGEST,
        SNAPSHOT,
        timestamp("evaluated_at", "When", "评估时间"),
    ),
)

DISCLOSURE = Table(
    "disclosure",
    "quality",
    "k-anonymity: how many patients share their quasi-identifiers, in the lake and as published",
    "k-匿名：准标识符取值相同的患者数（湖内与发布后）",
    key=("form", "variables"),
    columns=(
        string(
            "form",
            "Values as the lake holds them, or as [publish] of the protocol publishes them",
            "湖内取值，或按方案[publish]发布后的取值",
            allowed=("lake", "published"),
        ),
        string(
            "variables",
            "Columns of patients taken together, joined by +",
            "合并考虑的patients列，以+连接",
        ),
        integer("n_patients", "Patients", "患者数", minimum=0),
        integer(
            "n_classes",
            "Different values; a missing one is a value",
            "不同取值组合数；缺失视为一种取值",
            minimum=0,
        ),
        integer(
            "k",
            "Patients of the smallest class with the same values",
            "最小同值组的患者数（k）",
            minimum=1,
        ),
        integer(
            "n_unique", "Patients who are alone with their values", "取值唯一的患者数", minimum=0
        ),
        integer(
            "n_in_small_classes",
            "Patients in classes of fewer than five",
            "同值组不足5人的患者数",
            minimum=0,
        ),
        SIMULATED,
    ),
)

_RUN = string(
    "run", "Name of the federated run, drawn", "联邦运行名称（随机）", pattern="^[0-9a-f]{32}$"
)
_PLAN_DIGEST = string(
    "plan_digest",
    "SHA-256 of the plan, which every hospital allowed",
    "方案的 SHA-256，各医院均已批准",
    pattern="^[0-9a-f]{64}$",
)
_KIND = string(
    "kind",
    "What was asked",
    "查询类型",
    allowed=(
        "counts",
        "survival",
        "auc",
        "readers",
        "moments",
        "combat",
        "dhi_limits",
        "logistic",
        "network",
    ),
)
_HOSPITALS = texts("hospitals", "Hospitals that took part", "参加的医院")
_ROWS_FROM = string(
    "rows_from",
    "Where hospitals took rows from: their lakes, lakes of simulated patients, or tables that "
    "persons named",
    "各医院数据行来源：数据湖、模拟患者的数据湖，或人工指定的数据表",
    allowed=("lake", "simulated_lake", "table"),
)

FEDERATED_RUNS = Table(
    "federated_runs",
    "modelling",
    "One row per federated run that this hospital took part in, however it ended",
    "本院参加的每次联邦运行一行（无论结果如何）",
    key=("run",),
    columns=(
        _RUN,
        string("plan_name", "Title of the plan", "方案名称"),
        _PLAN_DIGEST,
        _KIND,
        TASK,
        _HOSPITALS,
        _ROWS_FROM,
        string(
            "state",
            "done, failed, or running where the process has ended without a word",
            "完成、失败；进程无记录结束时为运行中",
            allowed=("done", "failed", "running"),
        ),
        integer("rounds", "Sums of the plan", "方案的求和轮数", minimum=1),
        integer(
            "rounds_sent",
            "Rounds of which this hospital sent its part",
            "本院已发送的轮数",
            minimum=0,
        ),
        number(
            "epsilon",
            "What the rounds sent have cost at this hospital's δ; NULL for exact sums",
            "已发送各轮在本院 δ 下的 ε；精确求和为空",
            nullable=True,
            minimum=0,
        ),
        string(
            "model_released",
            "Whether a model may leave the consortium: with noise it may, without it stays inside "
            "and is marked; NULL where no model was learned",
            "模型能否离开联盟：含噪声可以，不含噪声仅限联盟内部；未学习模型时为空",
            nullable=True,
            allowed=("releasable", "consortium_only"),
        ),
        REASON,
        timestamp("ended_at", "When it ended here", "本院结束时间"),
    ),
)

FEDERATED_RESULTS = Table(
    "federated_results",
    "modelling",
    "One row per statistic of a federated run: of all hospitals' patients, from sums alone",
    "联邦运行每个统计量一行：所有医院患者合计，仅由总和得出",
    key=("run", "statistic"),
    columns=(
        _RUN,
        _PLAN_DIGEST,
        _KIND,
        TASK,
        string("statistic", "Statistic, with its group or column", "统计量及其分组或列"),
        number("value", "Its value; NULL with a reason", "数值；缺失时说明原因", nullable=True),
        number("lower", "Lower 95 % bound; NULL where there is none", "95% 下限", nullable=True),
        number("upper", "Upper 95 % bound; NULL where there is none", "95% 上限", nullable=True),
        REASON,
        number(
            "epsilon",
            "What the whole run cost at the plan's δ; NULL for exact sums",
            "整次运行在方案 δ 下的 ε；精确求和为空",
            nullable=True,
            minimum=0,
        ),
        _HOSPITALS,
        _ROWS_FROM,
        string(
            "provenance",
            "federated: this hospital cannot compute it from its own rows",
            "联邦结果：本院无法仅凭自有数据行得出",
            allowed=("federated",),
        ),
    ),
)

PRIVACY_LEDGER = Table(
    "privacy_ledger",
    "modelling",
    "One row per line of this hospital's ledger of what it gave away to federated runs",
    "本院联邦运行台账每行一行：已提供的内容",
    key=("line",),
    columns=(
        integer("line", "Number of the line", "行号", minimum=1),
        string(
            "event",
            "opened, allowed or forbidden (a plan), spent (a round), others (their ledgers noted)",
            "建立、批准或撤销（方案）、支出（一轮）、记录他院台账",
            allowed=("opened", "allowed", "forbidden", "spent", "others"),
        ),
        string("plan_digest", "SHA-256 of the plan", "方案的 SHA-256", nullable=True),
        string(
            "run_digest",
            "SHA-256 of the run and its hospitals",
            "运行及其医院的 SHA-256",
            nullable=True,
        ),
        integer("round", "Round of the run", "轮次", nullable=True, minimum=1),
        _HOSPITALS,
        number(
            "epsilon_spent",
            "ε of all rounds so far at the budget's δ",
            "截至该行在预算 δ 下已支出的 ε",
            minimum=0,
        ),
        number(
            "epsilon_budget", "Budget for the life of the cohort", "该队列的终身预算", minimum=0
        ),
        number("delta", "δ of the budget", "预算的 δ", minimum=0, maximum=1),
        timestamp("noted_at", "When it was written", "记录时间"),
    ),
)

TABLES: tuple[Table, ...] = (
    PATIENTS,
    TREATMENTS,
    FOLLOW_UP,
    CLINICAL_STATUS,
    RECONCILIATION,
    SCANS,
    TIMEPOINTS,
    READS,
    LESION_LOCATIONS,
    RADIOMIC_FEATURES,
    CONTROL_FEATURES,
    READER_AGREEMENT,
    ARBITRATIONS,
    READER_FIGURES,
    LESIONS,
    ELIGIBILITY,
    RESPONSES,
    IRECIST_BLOCKS,
    DYNAMIC_EVIDENCE,
    IUPD_COHORT,
    OUTCOMES,
    TIME_TO_EVENT,
    SURVIVAL_CURVES,
    SURVIVAL_MEDIANS,
    RESPONSE_RATES,
    FEATURE_STABILITY,
    DELTA_FEATURES,
    DHI,
    HABITATS,
    TRAINING_COHORT,
    MODEL_RUNS,
    PREDICTIONS,
    ATTRIBUTIONS,
    DYNAMIC_RISK,
    DYNAMIC_IRECIST,
    DYNAMIC_EVALUATION,
    BOARD_DECISIONS,
    QUARANTINE,
    QUALITY_VERDICTS,
    DISCLOSURE,
    FEDERATED_RUNS,
    FEDERATED_RESULTS,
    PRIVACY_LEDGER,
)


def published(table: Table) -> Table:
    """The table as analysts get it, without the columns that stay in the lake."""
    columns = tuple(c for c in table.columns if c.published)
    return replace(
        table, columns=columns, key=tuple(k for k in table.key if table.column(k).published)
    )


PUBLISHED: tuple[Table, ...] = tuple(map(published, TABLES))

BY_NAME = {table.name: table for table in TABLES}
