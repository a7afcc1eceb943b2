/// Columns wide enough for what stands in them; the last one is not padded.
pub(super) fn print(header: &[&str], rows: &[Vec<String>]) {
    print!("{}", lines(header, rows));
}

/// The same as text.
pub(super) fn lines(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|text| text.len()).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut all = String::new();
    let mut line = |texts: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (width, text) in widths.iter().zip(texts) {
            line.push_str(text);
            line.extend(std::iter::repeat_n(' ', width - text.chars().count() + 2));
        }
        all.push_str(line.trim_end());
        all.push('\n');
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    all
}

/// For people at a terminal: control characters of foreign text are shown, not obeyed.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
