//! Amounts with their units, for people.

/// `4.00 KB (4096 bytes)`: 1024-based with two decimals, and exact.
pub(super) fn bytes(value: i128) -> String {
    let exact = format!("{value} bytes");
    let mut unit = 1_i128;
    let mut name = "";
    for larger in ["KB", "MB", "GB", "TB", "PB", "EB"] {
        if value.abs() < unit * 1024 {
            break;
        }
        unit *= 1024;
        name = larger;
    }
    if name.is_empty() {
        return exact;
    }
    // Hundredths, rounded half up. Sums have 30 digits, an i128 has 38.
    let hundredths = (value.abs() * 100 + unit / 2) / unit;
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:02} {name} ({exact})", hundredths / 100, hundredths % 100)
}

/// A difference shows its direction.
pub(super) fn signed(value: i128, text: String) -> String {
    if value > 0 { format!("+{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_that_fits_and_the_exact_number() {
        for (value, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.00 KB (1024 bytes)"),
            (1_536, "1.50 KB (1536 bytes)"),
            (-4096, "-4.00 KB (-4096 bytes)"),
            (1_073_741_824, "1.00 GB (1073741824 bytes)"),
            (i128::pow(10, 30) - 1, "867361737988.40 EB (999999999999999999999999999999 bytes)"),
        ] {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(signed(5, bytes(5)), "+5 bytes");
        assert_eq!(signed(-5, bytes(-5)), "-5 bytes");
    }
}
