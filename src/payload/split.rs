//! Finds the parts of a JSON array or object by its brackets and quotes alone, for text that is not quite JSON.

use std::ops::Range;

/// The elements of the array, or `None` when `text` is none or its brackets or quotes do not pair up.
pub(super) fn array_elements(text: &[u8]) -> Option<Vec<Range<usize>>> {
    parts(text, b'[', b']')
}

/// The members of the object, each as its name with the quotes and its value; `None` when `text` is none.
pub(super) fn object_members(text: &[u8]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let member = |part: Range<usize>| {
        let name_end = part.start + string_length(&text[part.clone()])?;
        let value = trim(text, name_end..part.end);
        (text.get(value.start) == Some(&b':'))
            .then(|| (part.start..name_end, trim(text, value.start + 1..value.end)))
    };
    parts(text, b'{', b'}')?.into_iter().map(member).collect()
}

/// Length of the string, quotes included, with which `text` begins.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' if at == 0 => {}
            _ if at == 0 => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What the commas between the outermost brackets separate.
fn parts(text: &[u8], opening: u8, closing: u8) -> Option<Vec<Range<usize>>> {
    let open = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if text[open] != opening {
        return None;
    }
    let mut parts = Vec::new();
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let mut start = open + 1;
    for (at, byte) in text.iter().enumerate().skip(open) {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 1 => {
                parts.push(trim(text, start..at));
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            let rest_is_blank = text[at + 1..].iter().all(u8::is_ascii_whitespace);
            let last = trim(text, start..at);
            // `[]` has no element; `[1,]` has an empty one, which is then refused by itself.
            if !(last.is_empty() && parts.is_empty()) {
                parts.push(last);
            }
            return (*byte == closing && rest_is_blank).then_some(parts);
        }
    }
    None
}

fn trim(text: &[u8], range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let lead = part.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let trail = part[lead..].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
    range.start + lead..range.end - trail
}

/// Whether `needle` stands anywhere in `text`.
pub(super) fn mentions(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Option<Vec<&str>> {
        array_elements(text.as_bytes()).map(|ranges| ranges.into_iter().map(|r| &text[r]).collect())
    }

    #[test]
    fn elements_are_found_by_brackets_and_quotes() {
        assert_eq!(
            elements(r#" [ {"a":[1,2]}, NaN , "x,]\"" ] "#),
            Some(vec![r#"{"a":[1,2]}"#, "NaN", r#""x,]\"""#])
        );
        assert_eq!(elements("[]"), Some(vec![]));
        assert_eq!(elements("[1,]"), Some(vec!["1", ""]));
    }

    #[test]
    fn an_array_whose_brackets_do_not_pair_up_is_not_split() {
        for text in ["", "[", "[1", "[1]]", "[1}", "{}", "[\"1]", "[1] x"] {
            assert_eq!(elements(text), None, "{text}");
        }
    }

    #[test]
    fn members_of_an_object_are_found_by_quotes_and_the_colon() {
        let members = |text: &'static str| {
            let found = object_members(text.as_bytes())?;
            Some(found.into_iter().map(|(name, value)| (&text[name], &text[value])).collect::<Vec<_>>())
        };
        let text = r#" { "a\"b" : NaN , "records":[{"x":1}, 2] } "#;
        assert_eq!(members(text), Some(vec![(r#""a\"b""#, "NaN"), (r#""records""#, r#"[{"x":1}, 2]"#)]));
        assert_eq!(members("{}"), Some(vec![]));
        for text in ["", "[1]", "{1:2}", "{\"a\"}", "{\"a\" 1}", "{\"a:1}", "{,}"] {
            assert_eq!(members(text), None, "{text}");
        }
    }
}
