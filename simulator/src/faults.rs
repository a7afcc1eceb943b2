use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a published record is, seen from the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    Good,
    /// Valid, but its period lies days back.
    Late,
    /// The same bytes a second time.
    Duplicate,
    /// The same `recordId` with other content.
    Conflict,
    /// Refused by the contract.
    Malformed,
}

/// How often each fault happens: probabilities from 0 to 1 for each record, or message for `cut` and `reorder`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultPlan {
    pub duplicate: f64,
    pub late: f64,
    /// The message is held back until a later one has gone out.
    pub reorder: f64,
    pub malformed: f64,
    pub conflict: f64,
    /// The TCP connection is dropped right after the message, before its acknowledgement.
    pub cut: f64,
}

/// Why a fault list was not understood.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum FaultPlanError {
    #[error("`{0}` is not of the form name=probability")]
    Form(String),
    #[error("unknown fault `{0}`: use duplicate, late, reorder, malformed, conflict or cut")]
    Unknown(String),
    #[error("the probability of `{0}` is not a number from 0 to 1")]
    Probability(String),
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    /// Reads `duplicate=0.05,late=0.01`; what is not named does not happen.
    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        let mut plan = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once('=').ok_or_else(|| FaultPlanError::Form(item.to_owned()))?;
            let slot = match name {
                "duplicate" => &mut plan.duplicate,
                "late" => &mut plan.late,
                "reorder" => &mut plan.reorder,
                "malformed" => &mut plan.malformed,
                "conflict" => &mut plan.conflict,
                "cut" => &mut plan.cut,
                _ => return Err(FaultPlanError::Unknown(name.to_owned())),
            };
            let probability = value.parse().ok().filter(|value| (0.0..=1.0).contains(value));
            *slot = probability.ok_or_else(|| FaultPlanError::Probability(name.to_owned()))?;
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_list_sets_what_it_names_and_nothing_else() {
        let plan: FaultPlan = "duplicate=0.05, cut=1".parse().unwrap();
        assert_eq!(plan, FaultPlan { duplicate: 0.05, cut: 1.0, ..FaultPlan::default() });
        assert_eq!("".parse(), Ok(FaultPlan::default()));
    }

    #[test]
    fn a_wrong_fault_list_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<FaultPlan>().unwrap_err();
        assert_eq!(error("duplicate"), FaultPlanError::Form("duplicate".to_owned()));
        assert_eq!(error("lates=0.1"), FaultPlanError::Unknown("lates".to_owned()));
        for bad in ["late=2", "late=-0.1", "late=NaN", "late=x"] {
            assert_eq!(error(bad), FaultPlanError::Probability("late".to_owned()), "{bad}");
        }
    }
}
