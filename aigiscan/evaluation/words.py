"""One name for one thing: what columns are called on pages, in CSV files and on the terminal, and what it means."""

from __future__ import annotations

AUC = "AUC"
PARTIAL = "partial AUC"
RECALL_5 = "recall at 5 % false alarms"
RECALL_1 = "recall at 1 % false alarms"
ACCURACY = "balanced accuracy"
CALIBRATED = "accuracy, calibrated"
VALIDATED = "accuracy, validated"
ORACLE = "accuracy, oracle"
AP = "average precision"
FLAGGED = "photographs called ai"
FOUND = "fakes called ai"
ECE = "ECE"
CLLR = "Cllr"
MIN_CLLR = "minCllr"
BRIER = "Brier score"

#: column → what a reader who never saw the word must know; shown where the column first appears
MEANING = {
    AUC: "the chance that a generated picture scores higher than a photograph (0.5: guessing)",
    PARTIAL: "mean recall over false-alarm rates from 0 to 5 % (0.025: guessing)",
    RECALL_5: "share of generated pictures scoring higher than all but 5 % of the photographs",
    RECALL_1: "the same with 1 %",
    ACCURACY: "mean of the shares of photographs and of fakes told rightly, at score 0 unless said otherwise",
    CALIBRATED: "balanced accuracy at the threshold that promises a rate of false alarms on photographs of the "
    "training side which the fit did not see",
    VALIDATED: "balanced accuracy at the threshold that is best on validation pictures of the generator fitted on "
    "(Ojha et al. 2023, section 5.3)",
    ORACLE: "balanced accuracy at the threshold that is best on the test pictures themselves: a bound, no result",
    AP: "mean precision over all thresholds, with as many photographs as there are",
    FLAGGED: "false alarms: the share of photographs with the verdict ai",
    FOUND: "the share of generated pictures with the verdict ai",
    ECE: "expected calibration error: how far p_ai is from the observed share of fakes, on average",
    CLLR: "cost of p_ai as a likelihood ratio, in bits (0: certain and right, 1: knows nothing, above 1: misleading)",
    MIN_CLLR: "Cllr after the best calibration on these very pictures; Cllr beyond it is lost by calibration",
    BRIER: "mean squared error of p_ai (0: certain and right, 0.25: knows nothing)",
    "mean cosine": "cosine similarity over pairs of images (1: one ray)",
    "IsoScore": "0 a line, 1 all dimensions used alike, as published (Rudman et al. 2022); rises as "
    "columns get fewer and images more",
    "IsoScore, corrected": "the same without that",
    "dimensions used": "how many dimensions a cloud with this corrected IsoScore uses alike",
}
