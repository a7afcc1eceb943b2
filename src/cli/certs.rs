use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{DateTime, Datelike, Days, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::domain::Clock;

use super::failure::Failure;

const AUTHORITY_DAYS: u64 = 3_650;
/// What clients accept of a server's certificate (398 days), less one for clocks that differ.
const SERVER_DAYS: u64 = 397;
/// For clocks that are behind.
const BACKDATED_DAYS: u64 = 1;
/// Of a common name (X.520).
const MAX_NAME_LENGTH: usize = 64;

#[derive(Debug, Subcommand)]
pub(super) enum CertsCommand {
    /// Make an authority, a server certificate and device certificates to try MQTT over TLS with
    ///
    /// Files: ca.pem, ca.key, server.pem, server.key, NAME.pem, NAME.key. Keys are readable for you alone. A file that exists
    /// is never overwritten.
    Create(CreateArgs),
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Where the files go; made if it is not there
    #[arg(long)]
    dir: PathBuf,
    /// Host name or IP address by which clients reach the broker; give it once for each
    #[arg(long = "server-name", value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
    server_names: Vec<String>,
    /// User that logs in with a certificate of its own; give it once for each
    #[arg(long = "device", value_name = "NAME", default_values = ["device-1"], value_parser = device_name)]
    devices: Vec<String>,
}

/// Letters that make a file name, a common name and a word of a shell.
fn device_name(text: &str) -> Result<String, String> {
    let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty()
        || text.len() > MAX_NAME_LENGTH
        || text.starts_with(['.', '-'])
        || !text.chars().all(usable)
    {
        return Err(format!(
            "1 to {MAX_NAME_LENGTH} letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
        ));
    }
    if ["ca", "server"].contains(&text) {
        return Err("this name is taken by the authority or the server".into());
    }
    Ok(text.into())
}

pub(super) fn run(command: CertsCommand) -> Result<ExitCode, Failure> {
    let CertsCommand::Create(mut args) = command;
    args.devices.sort();
    args.devices.dedup();
    let now = Clock::System.now();
    let certificates = Certificates::make(&args, now)
        .map_err(|fault| Failure::new(2, format!("cannot make the certificates: {fault}")))?;
    fs::create_dir_all(&args.dir).map_err(|fault| cannot("make", &args.dir, &fault))?;
    // Absolute, because the program and the clients are started elsewhere.
    let dir = args.dir.canonicalize().map_err(|fault| cannot("use", &args.dir, &fault))?;
    certificates.write(&dir)?;
    explain(&dir, &args, now);
    Ok(ExitCode::SUCCESS)
}

fn cannot(what: &str, path: &Path, fault: &std::io::Error) -> Failure {
    Failure::new(2, format!("cannot {what} {}: {fault}", path.display()))
}

/// File names with what they will hold.
struct Certificates(Vec<(String, String)>);

impl Certificates {
    fn make(args: &CreateArgs, now: DateTime<Utc>) -> Result<Self, rcgen::Error> {
        let mut files = Vec::new();
        let mut add = |name: &str, certificate: String, key: String| {
            files.push((format!("{name}.pem"), certificate));
            files.push((format!("{name}.key"), key));
        };
        let key = KeyPair::generate()?;
        let mut params = params(&[], "simbridge development CA", now, AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        add("ca", params.self_signed(&key)?.pem(), key.serialize_pem());
        let authority = Issuer::new(params, key);
        let mut sign = |name: &str, mut params: CertificateParams, usage| {
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            add(name, params.signed_by(&key, &authority)?.pem(), key.serialize_pem());
            Ok::<_, rcgen::Error>(())
        };
        let server = self::params(&args.server_names, "simbridge", now, SERVER_DAYS)?;
        sign("server", server, ExtendedKeyUsagePurpose::ServerAuth)?;
        for device in &args.devices {
            let params = self::params(&[], device, now, AUTHORITY_DAYS)?;
            sign(device, params, ExtendedKeyUsagePurpose::ClientAuth)?;
        }
        Ok(Self(files))
    }

    fn write(&self, dir: &Path) -> Result<(), Failure> {
        // Looked for before anything is written, so that a refusal leaves nothing half done.
        if let Some((name, _)) = self.0.iter().find(|(name, _)| dir.join(name).symlink_metadata().is_ok()) {
            let path = dir.join(name);
            return Err(Failure::new(2, format!("{} exists; it is not overwritten", path.display())));
        }
        for (name, text) in &self.0 {
            let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
            let path = dir.join(name);
            let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|fault| cannot("write", &path, &fault))?;
        }
        Ok(())
    }
}

fn params(
    server_names: &[String],
    common_name: &str,
    now: DateTime<Utc>,
    days: u64,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(server_names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let today = now.date_naive();
    let date =
        |date: chrono::NaiveDate| rcgen::date_time_ymd(date.year(), date.month() as u8, date.day() as u8);
    params.not_before = date(today - Days::new(BACKDATED_DAYS));
    params.not_after = date(today + Days::new(days));
    Ok(params)
}

fn explain(dir: &Path, args: &CreateArgs, now: DateTime<Utc>) {
    let file = |name: &str| dir.join(name).display().to_string();
    let setting = |name: &str| toml::Value::from(file(name)).to_string();

    println!("Certificates for trying things out are in {}. In the configuration:\n", dir.display());
    println!("[mqtt.tls]");
    println!("listen = \"0.0.0.0:8883\"");
    println!("certificate_file = {}", setting("server.pem"));
    println!("key_file = {}", setting("server.key"));
    println!("client_certificate = \"optional\"");
    println!("client_ca_file = {}", setting("ca.pem"));
    println!("\nThe users of the certificates, once:\n");
    for device in &args.devices {
        println!("simbridge devices add {device} < /dev/null");
    }
    println!("\nA record, sent by the first of them:\n");
    let device = args.devices.first().map_or("device-1", String::as_str);
    let host = args.server_names.first().map_or("localhost", String::as_str);
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let record = serde_json::json!({
        "recordId": format!("try-{}", now.timestamp()),
        "periodStart": time(now - TimeDelta::hours(1)),
        "periodEnd": time(now),
        "usage": { "totalBytes": 1024 },
    });
    println!(
        "mosquitto_pub -V mqttv5 -h {host} -p 8883 --cafile {} --cert {} --key {} -q 1 -t simportal/sims/8941000000000000001/usage -m '{record}'",
        quoted(&file("ca.pem")),
        quoted(&file(&format!("{device}.pem"))),
        quoted(&file(&format!("{device}.key"))),
    );
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted("/etc/simbridge/ca.pem"), "/etc/simbridge/ca.pem");
        assert_eq!(quoted("/my files/it's"), "'/my files/it'\\''s'");
    }

    #[test]
    fn a_device_name_is_no_path_and_no_option() {
        assert_eq!(device_name("meter-7.eu_1"), Ok("meter-7.eu_1".into()));
        for bad in ["", ".", "../x", "-rf", "a b", "a/b", "é", "server", "ca", &"x".repeat(65)] {
            assert!(device_name(bad).is_err(), "{bad}");
        }
    }
}
