//! What docs/LOGGING.md says of events is what the source has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Fields of the events that are logged at `info` and above, each with a file that has it.
fn fields(directory: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            fields(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            for macro_name in ["info!(", "warn!(", "error!("] {
                for (at, _) in text.match_indices(macro_name) {
                    let whole = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                    let named = arguments(&text[at + macro_name.len()..]).into_iter().filter(|_| whole);
                    found.extend(named.map(|name| (name, path.clone())));
                }
            }
        }
    }
}

/// Names before the message: `name = value`, `%name`, `?name.field` or `name`.
fn arguments(text: &str) -> Vec<String> {
    let (mut names, mut depth, mut argument) = (Vec::new(), 0_u32, String::new());
    for c in text.chars() {
        match c {
            // Here the message begins.
            '"' if argument.trim().is_empty() => return names,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            ',' | ')' if depth == 0 => {
                let name = argument.trim().trim_start_matches(['%', '?']);
                let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(name.len());
                assert!(end > 0, "a field without a name: {argument}");
                names.push(name[..end].to_owned());
                argument.clear();
                if c == ')' {
                    return names;
                }
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    names
}

/// Catches a field that nobody can look up, and one that is looked for in vain.
#[test]
fn every_field_of_an_event_is_documented_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    fields(&root.join("src"), &mut found);
    assert!(found.len() > 50, "{found:?}");
    let text = fs::read_to_string(root.join("docs/LOGGING.md")).expect("text");
    let section =
        text.split_once("## Fields").and_then(|(_, rest)| rest.split_once("## Worth")).expect("sections").0;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let documented: BTreeSet<&str> =
        rows.flat_map(|(names, _)| names.split(['`', ',', ' '])).filter(|n| !n.is_empty()).collect();
    for (field, file) in &found {
        assert!(documented.contains(&**field), "{field} of {} is not in docs/LOGGING.md", file.display());
    }
    let gone: Vec<_> = documented.iter().filter(|name| !found.contains_key(**name)).collect();
    assert_eq!(gone, Vec::<&&str>::new());
}
