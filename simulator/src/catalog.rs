//! The fleet's world: networks, tariffs and places that exist, so that charts and maps look like a customer's.

/// A mobile network.
#[derive(Debug, PartialEq, Eq)]
pub struct Carrier {
    pub name: &'static str,
    pub mccmnc: &'static str,
    /// E.164 country code, two digits; also the country part of the ICCID (ITU-T E.118).
    pub(crate) country_code: &'static str,
    /// The issuer's two digits in the ICCID.
    pub(crate) issuer: &'static str,
}

pub(crate) const CARRIERS: [Carrier; 9] = [
    carrier("Swisscom", "22801", "41", "01"),
    carrier("Sunrise", "22802", "41", "02"),
    carrier("Salt", "22803", "41", "03"),
    carrier("Telekom DE", "26201", "49", "02"),
    carrier("Vodafone DE", "26202", "49", "20"),
    carrier("Orange F", "20801", "33", "01"),
    carrier("Bouygues F", "20820", "33", "20"),
    carrier("TIM IT", "22201", "39", "01"),
    carrier("A1 AT", "23201", "43", "01"),
];

/// A tariff.
#[derive(Debug, PartialEq, Eq)]
pub struct RatePlan {
    pub name: &'static str,
    pub included_bytes: u64,
    /// Decimal text: money never passes through a float.
    pub price_per_mb: &'static str,
    pub currency: &'static str,
    /// The SIM's hard limit per cycle; 0 = none.
    pub data_limit_bytes: u64,
}

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

pub(crate) const METERING: RatePlan = plan("IoT Metering pay per use", 0, "0.0500", 100 * MB);
pub(crate) const TRACKING: RatePlan = plan("IoT Tracking 250 MB", 250 * MB, "0.0200", 500 * MB);
pub(crate) const PAYMENT: RatePlan = plan("Payment 100 MB", 100 * MB, "0.0400", 200 * MB);
pub(crate) const VIDEO: RatePlan = plan("Video 20 GB", 20 * GB, "0.0035", 40 * GB);
pub(crate) const ROUTER: RatePlan = plan("Router pay per use", 0, "0.0012", 0);

/// A place where SIMs are.
#[derive(Debug, PartialEq)]
pub struct City {
    pub name: &'static str,
    pub latitude: f64,
    pub longitude: f64,
    pub(crate) country_code: &'static str,
}

pub(crate) const CITIES: [City; 18] = [
    city("Zürich", 47.3769, 8.5417, "41"),
    city("Bern", 46.9480, 7.4474, "41"),
    city("Genève", 46.2044, 6.1432, "41"),
    city("Basel", 47.5596, 7.5886, "41"),
    city("Lausanne", 46.5197, 6.6323, "41"),
    city("Lugano", 46.0037, 8.9511, "41"),
    city("Berlin", 52.5200, 13.4050, "49"),
    city("Hamburg", 53.5511, 9.9937, "49"),
    city("München", 48.1351, 11.5820, "49"),
    city("Köln", 50.9375, 6.9603, "49"),
    city("Paris", 48.8566, 2.3522, "33"),
    city("Lyon", 45.7640, 4.8357, "33"),
    city("Marseille", 43.2965, 5.3698, "33"),
    city("Milano", 45.4642, 9.1900, "39"),
    city("Roma", 41.9028, 12.4964, "39"),
    city("Torino", 45.0703, 7.6869, "39"),
    city("Wien", 48.2082, 16.3738, "43"),
    city("Graz", 47.0707, 15.4395, "43"),
];

const fn carrier(
    name: &'static str,
    mccmnc: &'static str,
    country_code: &'static str,
    issuer: &'static str,
) -> Carrier {
    Carrier { name, mccmnc, country_code, issuer }
}

const fn plan(
    name: &'static str,
    included_bytes: u64,
    price_per_mb: &'static str,
    data_limit_bytes: u64,
) -> RatePlan {
    RatePlan { name, included_bytes, price_per_mb, currency: "CHF", data_limit_bytes }
}

const fn city(name: &'static str, latitude: f64, longitude: f64, country_code: &'static str) -> City {
    City { name, latitude, longitude, country_code }
}
