//! The sample configuration says what the code does.

use std::path::{Path, PathBuf};

use simbridge::config::{
    FilesSourceConfig, Flags, MappingConfig, MqttSourceConfig, OpenVpnSourceConfig, PanelSourceConfig,
    RadiusClientConfig, RadiusSourceConfig, load,
};

#[cfg(not(feature = "opentelemetry"))]
use crate::harness::bridge::simbridge;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/simbridge.toml")
}

#[test]
fn the_sample_file_states_every_key_with_its_default() {
    let path = sample();
    let flags = Flags { config: Some(path.clone()), ..Flags::default() };
    let stated = load(&flags, &[]).expect("the sample file can be used");
    let defaults = load(&Flags::default(), &[]).expect("the defaults can be used");
    let file = path.display().to_string();
    let unstated: Vec<_> =
        stated.values.iter().filter(|(_, (_, origin))| origin.to_string() != file).collect();
    assert!(unstated.is_empty(), "config/simbridge.toml does not list {unstated:?}");
    for (key, (value, _)) in &stated.values {
        assert_eq!(value, &defaults.values[key].0, "`{key}` in config/simbridge.toml is not the default");
    }
}

/// The blocks that stand commented out, as a configuration.
fn sample_source() -> String {
    let text = std::fs::read_to_string(sample()).expect("the sample file can be read");
    text.lines().filter_map(|line| line.strip_prefix("#> ")).map(|line| format!("{line}\n")).collect()
}

/// Catches a key of a source that the sample does not show, or not with its default.
#[test]
fn the_sample_of_a_source_states_every_key_with_its_default() {
    let samples: toml::Table = sample_source().parse().expect("it is TOML");
    let defaults = [
        ("mqtt", toml::Table::try_from(MqttSourceConfig::default()), ["name", "url"]),
        ("openvpn", toml::Table::try_from(OpenVpnSourceConfig::default()), ["name", "status_file"]),
        ("panel", toml::Table::try_from(PanelSourceConfig::default()), ["name", "url"]),
        ("files", toml::Table::try_from(FilesSourceConfig::default()), ["name", "directory"]),
    ];
    for (kind, defaults, required) in defaults {
        let stated = samples["source"][kind][0].as_table().expect("a block").clone();
        let mut defaults = defaults.expect("plain values");
        for required in required {
            defaults.insert(required.into(), stated[required].clone());
        }
        assert_eq!(stated, defaults);
    }

    let file = tempfile::NamedTempFile::new().expect("a file");
    // A panel and a mapping alone do not say where the usage stands.
    let usable = sample_source().replace("\ntotal = []", "\ntotal = [\"/total\"]");
    let usable =
        usable.replace("\ntotal = \"\"", "\ntotal = \"Bytes\"").replace("iccid = \"\"", "iccid = \"SIM\"");
    let usable = usable.replace("\nstart = []", "\nstart = [\"Start\"]");
    std::fs::write(file.path(), usable).expect("it is ours");
    let flags = Flags { config: Some(file.path().into()), ..Flags::default() };
    let config = load(&flags, &[]).expect("they can be used").config;
    assert!(config.file_mapping("operator-x").is_some());
    let sources = config.source;
    let numbers = (sources.mqtt.len(), sources.openvpn.len(), sources.panel.len(), sources.radius.len());
    assert_eq!((numbers, sources.files.len()), ((1, 1, 1, 1), 1));
}

#[test]
fn the_sample_of_a_mapping_states_every_key_with_its_default() {
    let samples: toml::Table = sample_source().parse().expect("it is TOML");
    let stated = samples["mapping"][0].as_table().expect("a block").clone();
    let mut defaults = toml::Table::try_from(MappingConfig::default()).expect("plain values");
    defaults.insert("name".into(), stated["name"].clone());
    assert_eq!(stated, defaults);
}

#[test]
fn the_sample_of_radius_states_every_key_with_its_default() {
    let stated: toml::Table = sample_source().parse().expect("it is TOML");
    let stated = stated["source"]["radius"][0].as_table().expect("a block").clone();
    let mut defaults = toml::Table::try_from(RadiusSourceConfig::default()).expect("plain values");
    for required in ["name", "clients"] {
        defaults.insert(required.into(), stated[required].clone());
    }
    assert_eq!(stated, defaults);
    let client = stated["clients"][0].as_table().expect("a block");
    let keys = toml::Table::try_from(RadiusClientConfig::default()).expect("plain values");
    assert!(client.keys().eq(keys.keys()), "{client:?}");
}

#[test]
fn every_key_of_the_sample_file_is_explained() {
    let text = std::fs::read_to_string(sample()).expect("the sample file can be read");
    all_explained(&text);
    all_explained(&sample_source());
}

fn all_explained(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let is_key = pair[1].starts_with(|c: char| c.is_ascii_lowercase());
        assert!(!is_key || pair[0].starts_with("# "), "no comment stands before `{}`", pair[1]);
    }
}

/// Catches traces that are wanted and silently not made, and a program that does not start where a platform sets what others need.
#[cfg(not(feature = "opentelemetry"))]
#[tokio::test]
async fn a_program_without_traces_refuses_an_endpoint_of_its_own_and_no_variable_of_all() {
    let mut command = simbridge();
    command.arg("check").env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let output = command.output().await.expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    command.env("SIMBRIDGE__TRACES__ENDPOINT", "http://127.0.0.1:4318");
    let output = command.output().await.expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("traces.endpoint") && said.contains("--features opentelemetry"), "{said}");
}
