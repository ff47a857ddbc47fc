#!/bin/sh
# Install this release into a folder, without network or compiler; or check its files alone.
# 在无网络、无编译器的机器上安装本版本；或仅校验文件。
#
#   ./install.sh [--signers FILE] FOLDER     e.g. /srv/lakehouse/code
#   ./install.sh [--signers FILE] --check
#
# --signers: the allowed signers of ssh-keygen, got from the study by another way than this release.
# PYTHON=/path/to/python3.11 names another Python 3.11.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

stop() {
  printf '%s\n%s\n' "$1" "$2" >&2
  exit 1
}

usage() {
  stop "usage: ./install.sh [--signers FILE] FOLDER, or --check in place of FOLDER" \
    "用法：./install.sh [--signers 文件] 安装目录；仅校验时以 --check 代替安装目录"
}

check_files() {
  (cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) ||
    stop "SHA256SUMS: the files named above are not those of the release; copy it again" \
      "SHA256SUMS：上列文件与发布内容不一致，请重新拷贝"
  listed=$(mktemp)
  sed 's/^[0-9a-f]*  //' "$here/SHA256SUMS" | LC_ALL=C sort > "$listed"
  unlisted=$(cd "$here" && find . -mindepth 1 ! -type d | sed 's|^\./||' |
    grep -v -x -e SHA256SUMS -e SHA256SUMS.sig | LC_ALL=C sort | LC_ALL=C comm -13 "$listed" -)
  rm -f "$listed"
  [ -z "$unlisted" ] ||
    stop "not in SHA256SUMS: $unlisted; delete it or copy the release again" \
      "未列入 SHA256SUMS：$unlisted；请删除或重新拷贝"
}

check_signature() {
  if [ -z "$signers" ]; then
    if [ -f "$here/SHA256SUMS.sig" ]; then
      printf '%s\n' "signature: not checked; name the allowed signers with --signers FILE" \
        "签名：未校验；请用 --signers 指定允许的签名者文件"
    else
      printf '%s\n' "signature: none, THIS RELEASE IS UNSIGNED" "签名：无，本发布未签名"
    fi
    return
  fi
  [ -f "$signers" ] || stop "$signers: no such file" "$signers：文件不存在"
  [ -f "$here/SHA256SUMS.sig" ] ||
    stop "SHA256SUMS.sig is missing: this release is unsigned; ask for a signed one" \
      "缺少 SHA256SUMS.sig：本发布未签名，请索取已签名的发布"
  signer=$(ssh-keygen -Y find-principals -s "$here/SHA256SUMS.sig" -f "$signers" 2>/dev/null |
    head -n 1) || signer=
  [ -n "$signer" ] && ssh-keygen -Y verify -n lakehouse-release -I "$signer" -f "$signers" \
    -s "$here/SHA256SUMS.sig" < "$here/SHA256SUMS" > /dev/null 2>&1 ||
    stop "SHA256SUMS.sig: not signed by anybody in $signers; do not install this release" \
      "SHA256SUMS.sig：签名者不在 $signers 中，请勿安装"
  printf '%s\n' "signature: good, by $signer" "签名：有效，签名者 $signer"
}

check_machine() {
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    stop "this release is for Linux on x86-64" "本发布仅适用于 x86-64 Linux"
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || glibc="none"
  printf '%s\n' "$glibc" | awk '{ split($2, v, "."); exit !(v[1] == 2 && v[2] >= 28) }' ||
    stop "glibc 2.28 or later is needed, found: $glibc; use the image" \
      "需要 glibc 2.28 或更高版本，现有：$glibc；请改用镜像"
  python=$(command -v "${PYTHON:-python3.11}") ||
    stop "Python 3.11 is missing; name it with PYTHON=/path/to/python3.11, or use the image" \
      "未找到 Python 3.11；请用 PYTHON=/路径/python3.11 指定，或改用镜像"
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    stop "$python is not Python 3.11" "$python 不是 Python 3.11"
}

install_environment() {
  [ ! -e "$folder" ] || [ -z "$(ls -A "$folder")" ] ||
    stop "$folder is not empty; install each version into a folder of its own" \
      "$folder 不是空目录；每个版本请安装到单独的目录"
  mkdir -p "$folder"
  folder=$(CDPATH='' cd -- "$folder" && pwd)
  "$python" -m venv --without-pip "$folder/.venv"
  pip=$(ls "$here"/wheelhouse/pip-*.whl)
  PIP_CONFIG_FILE=/dev/null "$folder/.venv/bin/python" "$pip/pip" --isolated install \
    --no-index --find-links "$here/wheelhouse" --only-binary :all: --no-deps --require-hashes \
    --no-compile --no-cache-dir --disable-pip-version-check --quiet -r "$here/requirements.txt"
}

copy_documents() {
  cp -R "$here/deploy" "$here/docs" "$folder/"
  cp "$here/README.md" "$here/README.zh-CN.md" "$here/LICENSE" "$folder/"
  sed "s|dagster_project/|.venv/lib/python3.11/site-packages/&|" "$here/workspace.yaml" \
    > "$folder/workspace.yaml"
}

compile() {
  # One time for all files: compiled files are compared by it.
  find "$folder" -exec touch --no-dereference --date "@$(cat "$here/EPOCH")" {} +
  "$folder/.venv/bin/python" -m compileall -q -j 2 "$folder/.venv/lib" > /dev/null 2>&1 || true
  LC_ALL=C.UTF-8 "$folder/.venv/bin/python" -c 'import lightgbm' 2>/dev/null ||
    stop "lightgbm does not load: install libgomp (Debian: libgomp1; RPM: libgomp), then this anew" \
      "lightgbm 无法加载：请安装 libgomp（Debian：libgomp1；RPM：libgomp）后重新安装"
  NUMBA_CACHE_DIR="$folder/kernels" MPLCONFIGDIR="$folder/.matplotlib" \
    "$folder/.venv/bin/python" -c \
    'from dagster_project.radiomics.fused_engine import warm; warm()'
  rm -rf "$folder/.matplotlib"
}

say_what_next() {
  "$folder/.venv/bin/lakehouse" --version
  cat <<TEXT

Installed in $folder. Next:
  export PATH=$folder/.venv/bin:\$PATH LAKEHOUSE_HOME=/srv/lakehouse/study
  lakehouse run          # an empty home: says where to put what
The service and its units: $folder/docs/operations.md, The service.

已安装到 $folder。下一步：
  export PATH=$folder/.venv/bin:\$PATH LAKEHOUSE_HOME=/srv/lakehouse/study
  lakehouse run          # 主目录为空时会说明文件放在哪里
系统服务见 $folder/docs/operations.md。
TEXT
}

signers=
folder=
while [ $# -gt 0 ]; do
  case $1 in
    --signers) [ $# -ge 2 ] || usage; signers=$2; shift 2 ;;
    --check) folder=--check; shift ;;
    -*) usage ;;
    *) [ -z "$folder" ] || usage; folder=$1; shift ;;
  esac
done
[ -n "$folder" ] || usage

check_files
check_signature
if [ "$folder" = --check ]; then
  printf '%s\n' "all files are those of the release" "全部文件与发布内容一致"
  exit 0
fi
check_machine
install_environment
copy_documents
compile
say_what_next
