use std::fmt;

use super::hide::hide;
use super::load::Loaded;

/// Every key with its value and origin, one a line, as TOML; secrets are hidden.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        // Keys of the top level come before the first section, as TOML wants it.
        let (mut sections, top): (Vec<_>, Vec<_>) =
            self.values.iter().partition(|(key, _)| key.contains('.'));
        // A section stands once: its own keys are not divided by those of a section within it.
        sections.sort_by_key(|(key, _)| key.rsplit_once('.'));
        for (key, (value, origin)) in top.into_iter().chain(sections) {
            let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
            if of != section {
                writeln!(f, "\n[{of}]")?;
                section = of;
            }
            writeln!(f, "{name} = {}  # {origin}", hide(key, value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_shown_is_toml_that_says_the_same() {
        let loaded = crate::config::load(&crate::config::Flags::default(), &[]).unwrap();
        let shown: toml::Table = loaded.to_string().parse().unwrap();
        assert_eq!(shown, toml::Table::try_from(&loaded.config).unwrap());
    }
}
