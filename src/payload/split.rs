//! Finds the elements of a JSON array by its brackets and quotes alone, for arrays that are not quite JSON.

use std::ops::Range;

/// The elements of the array, or `None` when the brackets or quotes of `text` do not pair up.
pub(super) fn array_elements(text: &[u8]) -> Option<Vec<Range<usize>>> {
    let open = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if text[open] != b'[' {
        return None;
    }
    let mut elements = Vec::new();
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
                elements.push(trim(text, start..at));
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            let rest_is_blank = text[at + 1..].iter().all(u8::is_ascii_whitespace);
            let last = trim(text, start..at);
            // `[]` has no element; `[1,]` has an empty one, which is then refused by itself.
            if !(last.is_empty() && elements.is_empty()) {
                elements.push(last);
            }
            return (*byte == b']' && rest_is_blank).then_some(elements);
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

    fn parts(text: &str) -> Option<Vec<&str>> {
        array_elements(text.as_bytes()).map(|ranges| ranges.into_iter().map(|r| &text[r]).collect())
    }

    #[test]
    fn elements_are_found_by_brackets_and_quotes() {
        assert_eq!(
            parts(r#" [ {"a":[1,2]}, NaN , "x,]\"" ] "#),
            Some(vec![r#"{"a":[1,2]}"#, "NaN", r#""x,]\"""#])
        );
        assert_eq!(parts("[]"), Some(vec![]));
        assert_eq!(parts("[1,]"), Some(vec!["1", ""]));
    }

    #[test]
    fn an_array_whose_brackets_do_not_pair_up_is_not_split() {
        for text in ["", "[", "[1", "[1]]", "[1}", "{}", "[\"1]", "[1] x"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
