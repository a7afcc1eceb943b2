//! What an answer says about an account: pointers into its JSON, tried in their order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::Value;

use crate::domain::MAX_AMOUNT;
use crate::store::accounts::ACCOUNT_MAX_CHARS;

use crate::source::amount::{AmountFault, Unit};

/// Characters of a value that are shown when it cannot be used.
const SHOWN_CHARS: usize = 40;

/// Where the figures of an account stand: JSON pointers (RFC 6901). Of each list the first that leads to a number counts.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub total: Vec<String>,
    pub upload: Vec<String>,
    pub download: Vec<String>,
    /// A total in a unit of its own.
    pub used: Vec<String>,
    /// Of `total`, `upload` and `download`.
    pub unit: Unit,
    pub used_unit: Unit,
}

/// What was found of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) upload_bytes: i64,
    /// A figure that does not tell directions is download, which is what most usage is.
    pub(crate) download_bytes: i64,
    /// The pointers that led to it and the texts that stood there.
    pub(crate) found: String,
}

impl Figure {
    pub(crate) fn total_bytes(&self) -> i64 {
        self.upload_bytes + self.download_bytes
    }
}

/// One value that can be used.
struct Found<'p> {
    bytes: i64,
    pointer: &'p str,
    text: String,
}

impl Mapping {
    /// The figure of an account; otherwise why there is none.
    pub(super) fn figure(&self, of: &Value) -> Result<Figure, String> {
        let mut unusable = Vec::new();
        if let Some(total) = first(of, &self.total, self.unit, &mut unusable) {
            return Ok(whole(&total));
        }
        let upload = first(of, &self.upload, self.unit, &mut unusable);
        let download = first(of, &self.download, self.unit, &mut unusable);
        if let (Some(upload), Some(download)) = (&upload, &download) {
            if upload.bytes + download.bytes > MAX_AMOUNT {
                return Err("upload and download together are more than 2^45 bytes".into());
            }
            let found =
                format!("{} = {}, {} = {}", upload.pointer, upload.text, download.pointer, download.text);
            return Ok(Figure { upload_bytes: upload.bytes, download_bytes: download.bytes, found });
        }
        if let Some(used) = first(of, &self.used, self.used_unit, &mut unusable) {
            return Ok(whole(&used));
        }
        if let Some(half) = upload.or(download) {
            unusable.push(format!("{} stands alone, without the other direction", half.pointer));
        }
        if unusable.is_empty() {
            return Err("none of the pointers leads to anything".into());
        }
        Err(unusable.join("; "))
    }
}

fn whole(found: &Found<'_>) -> Figure {
    let found_at = format!("{} = {}", found.pointer, found.text);
    Figure { upload_bytes: 0, download_bytes: found.bytes, found: found_at }
}

fn first<'p>(
    of: &Value,
    pointers: &'p [String],
    unit: Unit,
    unusable: &mut Vec<String>,
) -> Option<Found<'p>> {
    for pointer in pointers {
        let text = match of.pointer(pointer) {
            None | Some(Value::Null) => continue,
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                let kind = match other {
                    Value::Object(_) => "an object",
                    Value::Array(_) => "an array",
                    _ => "a boolean",
                };
                unusable.push(format!("{pointer} is {kind}"));
                continue;
            }
        };
        match unit.bytes_of(&text) {
            Ok(bytes) => return Some(Found { bytes, pointer, text }),
            Err(AmountFault::NotANumber) => {
                unusable.push(format!("{pointer} is `{}`, which is no amount", shown(&text)));
            }
            Err(AmountFault::TooLarge) => {
                unusable.push(format!("{pointer} is `{}`, more than 2^45 bytes", shown(&text)));
            }
        }
    }
    None
}

/// The account that an element of a list is of.
pub(super) fn account(element: &Value, pointer: &str) -> Option<String> {
    let text = match element.pointer(pointer)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let usable = (1..=ACCOUNT_MAX_CHARS).contains(&text.chars().count()) && !text.contains(char::is_control);
    usable.then_some(text)
}

/// Where the accounts stand in an answer for all of them.
#[derive(Clone, Debug)]
pub struct ListPlace {
    /// Pointer to an array; empty when the answer is the array.
    pub list: String,
    /// Pointer to the account within an element.
    pub account: String,
}

/// What an answer for all accounts says.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) accounts: BTreeMap<String, Result<Figure, String>>,
    /// Elements whose account cannot be read.
    pub(super) nameless: usize,
}

impl ListPlace {
    /// The figures of at most so many accounts; otherwise why the answer is none.
    pub(super) fn read(
        &self,
        answer: &Value,
        mapping: &Mapping,
        max_accounts: usize,
    ) -> Result<Listed, String> {
        let Some(Value::Array(elements)) = answer.pointer(&self.list) else {
            return Err(format!("the answer has no list at `{}`", self.list));
        };
        if elements.len() > max_accounts {
            return Err(format!("the answer lists {} accounts, more than {max_accounts}", elements.len()));
        }
        let mut listed = Listed::default();
        for element in elements {
            let Some(account) = account(element, &self.account) else {
                listed.nameless += 1;
                continue;
            };
            match listed.accounts.entry(account) {
                Entry::Vacant(place) => drop(place.insert(mapping.figure(element))),
                // Neither of them, nor their sum, is certain to be what is meant.
                Entry::Occupied(mut place) => {
                    *place.get_mut() = Err("it stands in the answer more than once".into());
                }
            }
        }
        Ok(listed)
    }
}

/// What others wrote, for the log and for people: without control characters and bounded.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping() -> Mapping {
        let list = |pointers: &[&str]| pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
        Mapping {
            total: list(&["/data/total", "/total"]),
            upload: list(&["/up"]),
            download: list(&["/down"]),
            used: list(&["/used_gb", "/used"]),
            unit: Unit::parse("bytes", 1024).expect("a unit"),
            used_unit: Unit::parse("GB", 1024).expect("a unit"),
        }
    }

    fn amounts(of: &Value) -> Result<(i64, i64), String> {
        mapping().figure(of).map(|figure| (figure.upload_bytes, figure.download_bytes))
    }

    #[test]
    fn the_first_match_wins() {
        let all = json!({"data": {"total": 9}, "total": 8, "up": 1, "down": 2, "used": 3});
        assert_eq!(amounts(&all), Ok((0, 9)));
        assert_eq!(amounts(&json!({"total": "8", "up": 1, "down": 2})), Ok((0, 8)));
        assert_eq!(amounts(&json!({"up": "1", "down": 2.9, "used": 3})), Ok((1, 2)));
        assert_eq!(amounts(&json!({"used_gb": null, "used": "0.5"})), Ok((0, 1 << 29)));
        assert_eq!(amounts(&json!({"up": 1, "used": 1})), Ok((0, 1 << 30)), "half of a pair is none");
        let found = mapping().figure(&json!({"used": "0.5"})).expect("a figure").found;
        assert_eq!(found, "/used = 0.5");
    }

    /// Catches a number with a unit behind it that is read as bytes, and a field that is not there as a reason to fail.
    #[test]
    fn what_cannot_be_used_is_said() {
        let fault = |of: Value| amounts(&of).expect_err("no figure");
        assert_eq!(fault(json!({})), "none of the pointers leads to anything");
        assert_eq!(fault(json!("<html>")), "none of the pointers leads to anything");
        assert_eq!(fault(json!({"used": "5 GB"})), "/used is `5 GB`, which is no amount");
        assert_eq!(fault(json!({"total": -1})), "/total is `-1`, which is no amount");
        assert_eq!(
            fault(json!({"total": {"a": 1}, "used": true})),
            "/total is an object; /used is a boolean"
        );
        assert_eq!(fault(json!({"up": 4})), "/up stands alone, without the other direction");
        assert_eq!(fault(json!({"total": 1e30})), "/total is `1e+30`, more than 2^45 bytes");
        assert_eq!(fault(json!({"used": "a\u{1b}[2J"})), "/used is `a\u{fffd}[2J`, which is no amount");
        let half = 1i64 << 44;
        assert!(fault(json!({"up": half, "down": half + 1})).contains("together"));
    }

    #[test]
    fn an_account_is_text_or_a_number() {
        assert_eq!(account(&json!({"user": {"id": 7}}), "/user/id"), Some("7".into()));
        assert_eq!(account(&json!({"a/b": "alice"}), "/a~1b"), Some("alice".into()));
        for none in
            [json!({"id": ""}), json!({"id": null}), json!({"id": "a\n"}), json!({"id": "x".repeat(254)})]
        {
            assert_eq!(account(&none, "/id"), None);
        }
    }
    /// Catches one of two elements that is taken for the account, and one broken element that costs the others.
    #[test]
    fn a_list_gives_each_account_its_figure() {
        let place = ListPlace { list: "/users".into(), account: "/name".into() };
        let answer = json!({"users": [
            {"name": "a", "total": 1}, {"name": 2, "total": 2}, {"total": 3}, 4, {"name": "b"},
            {"name": "c", "total": 5}, {"name": "c", "total": 6},
        ]});
        let listed = place.read(&answer, &mapping(), 7).expect("a list");
        let words: Vec<_> = listed
            .accounts
            .iter()
            .map(|(account, figure)| match figure {
                Ok(figure) => format!("{account} {}", figure.total_bytes()),
                Err(why) => format!("{account}: {why}"),
            })
            .collect();
        let none = "none of the pointers leads to anything";
        let expected = [
            "2 2".into(),
            "a 1".into(),
            format!("b: {none}"),
            "c: it stands in the answer more than once".into(),
        ];
        assert_eq!((words, listed.nameless), (expected.to_vec(), 2));
        assert!(place.read(&answer, &mapping(), 6).expect_err("too many").contains("7 accounts"));
        let wrong = place.read(&json!({"users": {"a": 1}}), &mapping(), 6).expect_err("no list");
        assert_eq!(wrong, "the answer has no list at `/users`");
        let whole = ListPlace { list: String::new(), account: "/name".into() };
        assert_eq!(whole.read(&json!([{"name": "a"}]), &mapping(), 1).expect("a list").accounts.len(), 1);
    }
}
