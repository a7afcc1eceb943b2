//! A figure that a budget is about, as one line between a benchmark and `budgets`.

const MARK: &str = "budget";

/// What was measured.
pub(crate) struct Figure {
    pub(crate) key: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// What else belongs to it, for a reader.
    pub(crate) about: String,
}

/// Prints a figure beside what else a benchmark prints.
pub(crate) fn tell(key: &str, value: f64, unit: &str, about: &str) {
    println!("{MARK}\t{key}\t{value}\t{unit}\t{about}");
}

impl Figure {
    /// `None` of a line that is something else.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next().map(str::to_owned);
        (next()? == MARK).then_some(())?;
        let (key, value) = (next()?, next()?.parse().ok()?);
        Some(Self { key, value, unit: next()?, about: next()? })
    }
}
