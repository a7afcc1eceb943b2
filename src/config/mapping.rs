use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::source::file::{EndPlace, FieldPlaces, FileMapping, Layout, Places, SimPlace, TimeFormat, Value};
use crate::source::panel::Unit;

use super::sections::Config;
use super::source::name_fault;

/// Fields that may be the same for every row.
const CONSTANTS: [&str; 9] =
    ["iccid", "account", "total", "upload", "download", "sms", "voice", "mccmnc", "source"];
/// The last column that may be named by its number.
const COLUMNS_MAX: usize = 1_000;

/// What the columns of another system's files stand for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MappingConfig {
    /// For `[[source.files]]` and `import --mapping`, for accounts, and the `source` of records that tell none.
    pub name: String,
    /// `csv` or `ndjson`.
    pub format: String,
    /// `,`, `;`, `|` or `tab`.
    pub delimiter: String,
    /// False: columns are named by their numbers, from 1 on.
    pub header: bool,
    /// Lines that begin so are passed over.
    pub ignore_lines: Vec<String>,
    /// Columns that tell a record from the others of its SIM; empty for the whole row.
    pub record_id: Vec<String>,
    pub iccid: String,
    /// IMSI, MSISDN or whatever else stands for a SIM.
    pub account: String,
    /// Joined by a blank where there are several.
    pub start: Vec<String>,
    pub end: Vec<String>,
    /// How long after `start` it ended.
    pub duration: String,
    /// `rfc3339`, `unix`, `unix_ms` or a pattern of strftime.
    pub time_format: String,
    /// Of patterns that tell no offset.
    pub time_zone: String,
    pub total: String,
    pub upload: String,
    pub download: String,
    /// `bytes`, `KB` to `TB`, or `KiB` to `TiB`.
    pub unit: String,
    /// 1024 or 1000, of `KB` to `TB`.
    pub unit_base: u32,
    pub decimal_comma: bool,
    pub sms: String,
    pub voice: String,
    pub mccmnc: String,
    pub source: String,
    pub corrects: String,
    /// Fields that are the same for every row.
    pub constant: BTreeMap<String, String>,
}

impl Default for MappingConfig {
    fn default() -> Self {
        let none = String::new;
        Self {
            name: none(),
            format: "csv".into(),
            delimiter: ",".into(),
            header: true,
            ignore_lines: Vec::new(),
            record_id: Vec::new(),
            iccid: none(),
            account: none(),
            start: Vec::new(),
            end: Vec::new(),
            duration: none(),
            time_format: "rfc3339".into(),
            time_zone: none(),
            total: none(),
            upload: none(),
            download: none(),
            unit: "bytes".into(),
            unit_base: 1_024,
            decimal_comma: false,
            sms: none(),
            voice: none(),
            mccmnc: none(),
            source: none(),
            corrects: none(),
            constant: BTreeMap::new(),
        }
    }
}

type Fault = (&'static str, String);

impl MappingConfig {
    /// # Errors
    /// The first setting that cannot work: its key, and what would.
    pub fn mapping(&self) -> Result<FileMapping, (&'static str, String)> {
        if let Some(problem) = name_fault(&self.name) {
            return Err(("name", problem));
        }
        let layout = self.layout()?;
        if let Some(unknown) = self.constant.keys().find(|key| !CONSTANTS.contains(&key.as_str())) {
            return Err(("constant", format!("`{unknown}` is none of {}", CONSTANTS.join(", "))));
        }
        if self.ignore_lines.iter().any(String::is_empty) {
            return Err(("ignore_lines", "an empty text begins every line".into()));
        }
        let mut places = Places::default();
        let fields = self.fields(&mut places)?;
        for name in places.names() {
            place_fault(name, layout).map_or(Ok(()), |problem| Err((self.key_of(name), problem)))?;
        }
        Ok(FileMapping {
            name: self.name.clone(),
            layout,
            ignore_lines: self.ignore_lines.clone(),
            places,
            fields,
            times: TimeFormat::parse(&self.time_format, &self.time_zone)?,
            unit: self.unit()?,
            decimal_comma: self.decimal_comma,
        })
    }

    fn layout(&self) -> Result<Layout, Fault> {
        let delimiter = match self.delimiter.as_str() {
            "tab" => b'\t',
            "," | ";" | "|" => self.delimiter.as_bytes()[0],
            _ => return Err(("delimiter", "must be , or ; or | or tab".into())),
        };
        match self.format.as_str() {
            "csv" => Ok(Layout::Csv { delimiter, header: self.header }),
            "ndjson" => Ok(Layout::Ndjson),
            _ => Err(("format", "must be csv or ndjson".into())),
        }
    }

    fn unit(&self) -> Result<Unit, Fault> {
        let (name, base) = match self.unit.strip_suffix("iB") {
            Some(prefix) => (format!("{prefix}B"), 1_024),
            None => (self.unit.clone(), self.unit_base),
        };
        if ![1_000, 1_024].contains(&self.unit_base) {
            return Err(("unit_base", "must be 1024 or 1000".into()));
        }
        let known = || ("unit", "must be bytes, KB, MB, GB or TB, or KiB, MiB, GiB or TiB".into());
        Unit::parse(&name, base).ok_or_else(known)
    }

    fn fields(&self, places: &mut Places) -> Result<FieldPlaces, Fault> {
        if self.start.is_empty() {
            return Err(("start", "must name where the time stands".into()));
        }
        let iccid = self.value("iccid", &self.iccid, places)?;
        let account = self.value("account", &self.account, places)?;
        let sim = match (iccid, account) {
            (Some(iccid), None) => SimPlace::Iccid(iccid),
            (None, Some(account)) => SimPlace::Account(account),
            _ => return Err(("iccid", "or `account` must be stated, and not both".into())),
        };
        let mut all = |names: &[String]| names.iter().map(|name| places.of(name)).collect::<Vec<_>>();
        let (record_id, start, end) = (all(&self.record_id), all(&self.start), all(&self.end));
        let end = match (end.is_empty(), self.duration.as_str()) {
            (true, "") => EndPlace::IsTheStart,
            (false, "") => EndPlace::At(end),
            (true, duration) => EndPlace::After(places.of(duration)),
            (false, _) => return Err(("duration", "stands beside `end`; state one of them".into())),
        };
        let mut value = |key, name| self.value(key, name, places);
        let fields = FieldPlaces {
            record_id,
            sim,
            start,
            end,
            total: value("total", &self.total)?,
            upload: value("upload", &self.upload)?,
            download: value("download", &self.download)?,
            sms: value("sms", &self.sms)?,
            voice: value("voice", &self.voice)?,
            mccmnc: value("mccmnc", &self.mccmnc)?,
            source: value("source", &self.source)?,
            corrects: value("corrects", &self.corrects)?,
        };
        let data = fields.total.is_some() || fields.upload.is_some() && fields.download.is_some();
        if fields.upload.is_some() != fields.download.is_some() && fields.total.is_none() {
            return Err(("upload", "and `download` belong together, unless `total` is stated".into()));
        }
        if !data && fields.sms.is_none() && fields.voice.is_none() {
            return Err(("total", "or `upload` and `download`, `sms` or `voice` must be stated".into()));
        }
        Ok(fields)
    }

    /// Where a field stands, or what it always is.
    fn value(&self, key: &'static str, name: &str, places: &mut Places) -> Result<Option<Value>, Fault> {
        match (name, self.constant.get(key)) {
            ("", None) => Ok(None),
            ("", Some(text)) => Ok(Some(Value::Constant(text.clone()))),
            (name, None) => Ok(Some(Value::At(places.of(name)))),
            (_, Some(_)) => Err((key, "stands beside a constant; state one of them".into())),
        }
    }

    /// The first key that names a place.
    fn key_of(&self, place: &str) -> &'static str {
        let lists = [("record_id", &self.record_id), ("start", &self.start), ("end", &self.end)];
        let one = [
            ("iccid", &self.iccid),
            ("account", &self.account),
            ("duration", &self.duration),
            ("total", &self.total),
            ("upload", &self.upload),
            ("download", &self.download),
            ("sms", &self.sms),
            ("voice", &self.voice),
            ("mccmnc", &self.mccmnc),
            ("source", &self.source),
            ("corrects", &self.corrects),
        ];
        let in_list = lists.into_iter().find(|(_, names)| names.iter().any(|name| name == place));
        let alone = one.into_iter().find(|(_, name)| *name == place);
        in_list.map(|(key, _)| key).or(alone.map(|(key, _)| key)).unwrap_or("name")
    }
}

/// Why nothing of a file can have this name.
fn place_fault(name: &str, layout: Layout) -> Option<String> {
    match layout {
        Layout::Ndjson if !name.starts_with('/') => {
            Some(format!("`{name}` is no JSON pointer: it begins with /"))
        }
        Layout::Csv { header: false, .. }
            if !name.parse::<usize>().is_ok_and(|column| (1..=COLUMNS_MAX).contains(&column)) =>
        {
            Some(format!(
                "`{name}` must be the number of a column, from 1 to {COLUMNS_MAX}, without a header"
            ))
        }
        Layout::Csv { header: true, .. } if name.trim() != name || name.is_empty() => {
            Some(format!("`{name}` is no name of a column: it is empty, or begins or ends with a blank"))
        }
        _ => None,
    }
}

impl Config {
    /// The mapping of this name.
    pub fn file_mapping(&self, name: &str) -> Option<FileMapping> {
        self.mapping.iter().find(|mapping| mapping.name == name)?.mapping().ok()
    }

    /// The first mapping that cannot work, or that is named and not there.
    pub(super) fn fault_of_mappings(&self) -> Option<(String, String)> {
        for (n, mapping) in self.mapping.iter().enumerate() {
            if let Err((key, problem)) = mapping.mapping() {
                return Some((format!("mapping[{n}].{key}"), problem));
            }
            if self.mapping[..n].iter().any(|other| other.name == mapping.name) {
                return Some((format!("mapping[{n}].name"), format!("`{}` stands twice", mapping.name)));
            }
        }
        for (n, source) in self.source.files.iter().enumerate() {
            if !source.mapping.is_empty() && self.file_mapping(&source.mapping).is_none() {
                let problem = format!("there is no [[mapping]] `{}`", source.mapping);
                return Some((format!("source.files[{n}].mapping"), problem));
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
