//! Figures as panels and files write them, in whole bytes. Decimal digits are multiplied as they stand: no floating point, so that
//! 0.1 GB is the same number of bytes with every reading.

use crate::domain::MAX_AMOUNT;

/// Digits of a figure, far more than bytes of 2^45 need; the product with any unit stays within 128 bits.
const MAX_DIGITS: usize = 25;

/// What one of a figure stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    bytes: u64,
}

/// Why text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AmountFault {
    /// Letters, a sign, nothing at all.
    NotANumber,
    /// More than one record can hold.
    TooLarge,
}

impl Unit {
    /// `bytes`, `KB`, `MB`, `GB` or `TB`, each the base (1000 or 1024) times the one before; `None` for anything else.
    pub fn parse(name: &str, base: u32) -> Option<Self> {
        let power = ["bytes", "KB", "MB", "GB", "TB"].iter().position(|known| *known == name)?;
        matches!(base, 1_000 | 1_024).then(|| Self { bytes: u64::from(base).pow(power as u32) })
    }

    /// Bytes of a decimal number without a sign, such as `12`, `0.5` or `1.5e3`; what is less than a byte is dropped.
    pub(super) fn bytes_of(self, text: &str) -> Result<i64, AmountFault> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                (mantissa, exponent.parse::<i32>().map_err(|_| AmountFault::NotANumber)?)
            }
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(AmountFault::NotANumber);
        }
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(0);
        }
        // Digits behind the 25th say less than a byte, or the number is too large anyway.
        let kept = &significant[..significant.len().min(MAX_DIGITS)];
        let dropped = i64::try_from(significant.len() - kept.len()).unwrap_or(i64::MAX);
        let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let scale = i64::from(exponent).saturating_sub(fraction_digits).saturating_add(dropped);
        let product = kept.parse::<u128>().map_err(|_| AmountFault::NotANumber)? * u128::from(self.bytes);
        let power = scale.unsigned_abs().try_into().ok().and_then(|power| 10_u128.checked_pow(power));
        let bytes = match (scale >= 0, power) {
            (true, Some(power)) => product.checked_mul(power).ok_or(AmountFault::TooLarge)?,
            (true, None) => return Err(AmountFault::TooLarge),
            (false, Some(power)) => product / power,
            // Less than the product's own digits can make up for.
            (false, None) => 0,
        };
        i64::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_AMOUNT).ok_or(AmountFault::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str, unit: &str, base: u32) -> Result<i64, AmountFault> {
        Unit::parse(unit, base).expect("a unit").bytes_of(text)
    }

    #[test]
    fn fractions_are_exact() {
        assert_eq!(bytes("0.1", "GB", 1024), Ok(107_374_182), "107374182.4");
        assert_eq!(bytes("1.2999999999999998", "GB", 1000), Ok(1_299_999_999));
        assert_eq!(bytes("12.5", "GB", 1024), Ok(13_421_772_800));
        assert_eq!(bytes("1.1", "KB", 1000), Ok(1_100), "not 1100.0000000000002");
        assert_eq!(bytes("4.35", "MB", 1000), Ok(4_350_000), "not 4349999.999999999");
        assert_eq!(bytes("7.9", "bytes", 1024), Ok(7));
        assert_eq!(bytes("32768", "GB", 1024), Ok(MAX_AMOUNT));
        assert_eq!(bytes("007", "bytes", 1000), Ok(7));
        assert_eq!(bytes(&format!("0.1{}", "0".repeat(60)), "KB", 1000), Ok(100));
    }

    #[test]
    fn exponents_are_figures_of_json_too() {
        assert_eq!(bytes("1.5e3", "bytes", 1000), Ok(1_500));
        assert_eq!(bytes("15E-1", "KB", 1000), Ok(1_500));
        assert_eq!(bytes("1e-99", "TB", 1024), Ok(0));
        assert_eq!(bytes("0e999999999", "TB", 1024), Ok(0));
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in ["", "-1", "+1", "1.", ".5", "1,5", "1 GB", "NaN", "inf", "0x10", "1e", "1e1e1", "٣"] {
            assert_eq!(bytes(text, "bytes", 1000), Err(AmountFault::NotANumber), "{text}");
        }
        let long = "9".repeat(400);
        for text in ["35184372088833", "1e30", "1e2147483647", long.as_str()] {
            assert_eq!(bytes(text, "bytes", 1000), Err(AmountFault::TooLarge), "{text}");
        }
        assert_eq!(bytes("32768.000000001", "GB", 1024), Err(AmountFault::TooLarge));
        assert_eq!(Unit::parse("GiB", 1024), None);
        assert_eq!(Unit::parse("GB", 1025), None);
    }
}
