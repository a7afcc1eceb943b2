//! Secrets that can be recognised wherever they come out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Texts and bytes that nobody may see, each with what it is.
#[derive(Clone, Default)]
pub(crate) struct Canaries(Vec<(String, Vec<String>)>);

impl Canaries {
    /// Makes one up: letters and digits only, so that no way of escaping changes it.
    pub(crate) fn make(&mut self, what: &str) -> String {
        let secret = format!("canary{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        self.add(what, &secret);
        secret
    }

    pub(crate) fn add(&mut self, what: &str, secret: impl AsRef<[u8]>) {
        self.0.push((what.into(), forms(secret.as_ref())));
    }

    /// Fails when one of them stands in the text.
    pub(crate) fn assert_hidden(&self, place: &str, text: &str) {
        let found = self.found(text);
        assert!(found.is_empty(), "{place} shows {found:#?}");
    }

    /// What of them stands in the text, with the line.
    pub(crate) fn found(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (what, forms) in &self.0 {
            if let Some(at) = forms.iter().find_map(|form| text.find(form.as_str())) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                let line: String =
                    text[line..].lines().next().unwrap_or_default().chars().take(600).collect();
                found.push(format!("{what}: {line}"));
            }
        }
        found
    }
}

/// As it is, as hexadecimal digits, as base64 of something that it is a part of, and as Rust writes bytes for debugging.
fn forms(secret: &[u8]) -> Vec<String> {
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_uppercase(), hex, list.join(", "), list.join(",")];
    forms.extend(std::str::from_utf8(secret).map(str::to_owned));
    forms.extend((0..3).map(|before| {
        let coded = STANDARD_NO_PAD.encode([vec![0; before], secret.to_vec()].concat());
        // What is mixed with the bytes before and after it is left out.
        let from = [0, 2, 3][before];
        let whole = (before + secret.len()) / 3 * 4;
        coded[from..whole].to_owned()
    }));
    forms
}

/// Catches a search that sees nothing: every other test of secrets would pass.
#[test]
fn a_secret_is_found_in_every_form() {
    let mut canaries = Canaries::default();
    let secret = canaries.make("the password");
    let bytes = secret.as_bytes();
    let coded = |before: &str| STANDARD_NO_PAD.encode(format!("{before}{secret}:after"));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = [
        secret.clone(),
        hex,
        format!("{bytes:?}"),
        coded(""),
        coded("u"),
        coded("me"),
        coded("you"),
        coded("user:"),
    ];
    for form in shown {
        assert_eq!(
            canaries.found(&format!("first\nurl={form}&\nlast")),
            [format!("the password: url={form}&")]
        );
    }
    assert!(canaries.found(&secret[1..]).is_empty());
}
