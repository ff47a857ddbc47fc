"""Coded concepts of the exported results, and where each is defined.

DICOM defines responses of target and non-target lesions by RECIST (CID 6144 of PS3.16) and response
criteria (CID 6147). It defines no code of an overall response, of iRECIST, or of a block of
unconfirmed progression: those have a private scheme, which every report describes in its Coding
Scheme Identification Sequence (0008,0110).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.sr.coding import Code

SCHEME = "99DIRECIST"
"""Private coding scheme (PS3.16 8.2: designators that begin with 99)."""

SCHEME_UID = "2.25.118290873642190867735049128874630117352"
SCHEME_NAME = "Dynamic iRECIST lakehouse"

# -- DICOM PS3.16, Annex D -------------------------------------------------------------------------

CURRENT_RESPONSE = Code("112048", "DCM", "Current Response")
RECIST_1_1 = Code("126081", "DCM", "RECIST 1.1")
TARGET_RESPONSES: Mapping[str, Code] = {
    "CR": Code("112041", "DCM", "Target Lesion Complete Response"),
    "PR": Code("112042", "DCM", "Target Lesion Partial Response"),
    "PD": Code("112043", "DCM", "Target Lesion Progressive Disease"),
    "SD": Code("112044", "DCM", "Target Lesion Stable Disease"),
}
NONTARGET_RESPONSES: Mapping[str, Code] = {
    "CR": Code("112045", "DCM", "Non-Target Lesion Complete Response"),
    "NON_CR_NON_PD": Code(
        "112046", "DCM", "Non-Target Lesion Incomplete Response or Stable Disease"
    ),
    "PD": Code("112047", "DCM", "Non-Target Lesion Progressive Disease"),
}
BASELINE_CATEGORY = Code("112016", "DCM", "Baseline Category")
BASELINE_CATEGORIES: Mapping[str, Code] = {
    "target": Code("112074", "DCM", "Target Lesion at Baseline"),
    "non_target": Code("112075", "DCM", "Non-Target Lesion at Baseline"),
}
COMMENT = Code("121106", "DCM", "Comment")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
DERIVED_MEASUREMENTS = Code("126011", "DCM", "Derived Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
SEGMENTED_VOXELS = Code("126030", "DCM", "Sum of segmented voxel method for volume")

# -- SNOMED CT, as PS3.16 lists it -----------------------------------------------------------------

LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
VOLUME = Code("118565006", "SCT", "Volume")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
COMPUTED_TOMOGRAPHY = Code("77477000", "SCT", "Computed Tomography")
TOTAL = Code("255619001", "SCT", "Total")
ORGANS: Mapping[str, Code] = {
    "lung": Code("39607008", "SCT", "Lung"),
    "lymph_node": Code("59441001", "SCT", "Lymph node"),
    "mediastinum": Code("72410000", "SCT", "Mediastinum"),
    "pleura": Code("3120008", "SCT", "Pleura"),
    "pericardium": Code("76848001", "SCT", "Pericardium"),
    "chest_wall": Code("78904004", "SCT", "Chest wall"),
    "liver": Code("10200004", "SCT", "Liver"),
    "adrenal": Code("23451007", "SCT", "Adrenal gland"),
    "kidney": Code("64033007", "SCT", "Kidney"),
    "spleen": Code("78961009", "SCT", "Spleen"),
    "pancreas": Code("15776009", "SCT", "Pancreas"),
    "bone": Code("272673000", "SCT", "Bone"),
    "brain": Code("12738006", "SCT", "Brain"),
}
"""Finding sites; an organ that is not listed has none."""

MM = Code("mm", "UCUM", "mm")
MM3 = Code("mm3", "UCUM", "mm3")
PERCENT = Code("%", "UCUM", "%")
DAY = Code("d", "UCUM", "day")

# -- the private scheme ----------------------------------------------------------------------------


def private(value: str, meaning: str) -> Code:
    """A concept of the private scheme."""
    return Code(value, SCHEME, meaning)


LESION_STATE = private("lesion_state", "State of a lesion without measurement")
LESION_STATES: Mapping[str, Code] = {
    "absent": private("absent", "Not present any more"),
    "too_small": private("too_small", "Present, too small to measure"),
    "not_measured": private("not_measured", "Present, not measured"),
}
LESION_ROLE = private("lesion_role", "Role of the lesion in RECIST 1.1")
LESION_ROLES: Mapping[str, Code] = {
    "target": private("target", "Target lesion"),
    "non_target": private("non_target", "Non-target lesion"),
    "new": private("new", "New lesion"),
}
SUM_OF_DIAMETERS = private("sum_mm", "Sum of target diameters")
FIGURES: Mapping[str, tuple[Code, Code]] = {
    "sum_mm": (SUM_OF_DIAMETERS, MM),
    "baseline_sum_mm": (private("baseline_sum_mm", "Sum of target diameters at baseline"), MM),
    "nadir_mm": (private("nadir_mm", "Smallest sum of target diameters before this visit"), MM),
    "change_from_baseline_percent": (
        private("change_from_baseline_percent", "Change of the sum from baseline"),
        PERCENT,
    ),
    "change_from_nadir_percent": (
        private("change_from_nadir_percent", "Change of the sum from nadir"),
        PERCENT,
    ),
}
"""Columns of `responses` that a report holds as numbers, and their units."""

NO_TARGET = private("target_none", "No target lesion")
NO_NONTARGET = private("nontarget_none", "No non-target lesion")
TARGET_NE = private("target_ne", "Target lesions not evaluable")
NONTARGET_NE = private("nontarget_ne", "Non-target lesions not evaluable")
NEW_LESION = private("new_lesion", "Unequivocal new lesion")
YES, NO = private("yes", "Yes"), private("no", "No")

OVERALL_RESPONSE = private("overall_response", "Overall response by RECIST 1.1")
OVERALL_RESPONSES: Mapping[str, Code] = {
    "CR": private("CR", "Complete response"),
    "PR": private("PR", "Partial response"),
    "SD": private("SD", "Stable disease"),
    "NON_CR_NON_PD": private("NON_CR_NON_PD", "Non-CR/non-PD"),
    "PD": private("PD", "Progressive disease"),
    "NE": private("NE", "Not evaluable"),
    "NED": private("NED", "No evidence of disease"),
}
IRECIST = private("iRECIST", "iRECIST (Seymour 2017)")
IRECIST_RESPONSE = private("irecist_response", "Overall response by iRECIST")
IRECIST_RESPONSES: Mapping[str, Code] = {
    "iCR": private("iCR", "Immune complete response"),
    "iPR": private("iPR", "Immune partial response"),
    "iSD": private("iSD", "Immune stable disease"),
    "iNON_CR_NON_PD": private("iNON_CR_NON_PD", "Immune non-CR/non-PD"),
    "iUPD": private("iUPD", "Immune unconfirmed progressive disease"),
    "iCPD": private("iCPD", "Immune confirmed progressive disease"),
    "iNE": private("iNE", "Immune not evaluable"),
    "iNED": private("iNED", "Immune no evidence of disease"),
}
BLOCK_STATUS = private("block_status", "Status of the block of unconfirmed progression")
BLOCK_STATES: Mapping[str, Code] = {
    "waiting": private("waiting", "Before the window in which a CT can confirm"),
    "due": private("due", "A CT is due that can confirm"),
    "overdue": private("overdue", "The window has passed without an evaluable CT"),
    "undated": private("undated", "The day of the unconfirmed progression is not known"),
    "standing": private("standing", "Neither confirmed nor reset"),
    "unreadable": private("unreadable", "This CT could not be evaluated"),
    "reset": private("reset", "Progression was not confirmed"),
    "confirmed": private("confirmed", "Progression was confirmed"),
    "closed": private("closed", "Ended without confirmation"),
}
WINDOW_FROM = private("confirm_from_day", "First day of the confirmation window from cycle 1")
WINDOW_TO = private("confirm_to_day", "Last day of the confirmation window from cycle 1")
VISIT_DAY = private("day", "Days from the first cycle")


def code_of_target(response: str) -> Code:
    """The code of a target response (CID 6144), else of the private scheme."""
    return TARGET_RESPONSES.get(response) or {"NE": TARGET_NE, "NONE": NO_TARGET}[response]


def code_of_nontarget(response: str) -> Code:
    """The code of a non-target response (CID 6144), else of the private scheme."""
    return NONTARGET_RESPONSES.get(response) or {"NE": NONTARGET_NE, "NONE": NO_NONTARGET}[response]
