//! All files together: under which name browsers keep them, and the page that names them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use sha2::{Digest, Sha256};

use super::Assets;

/// The page at all of the paths, before it is told where its files are.
pub(super) const INDEX: &str = "index.html";
/// Stands there for one line a module.
const MODULES: &str = "<!-- modules -->\n";
/// Runs before the first paint, and is no module.
const THEME: &str = "theme.js";
/// While debugging, files change under the running program; a page asks for some fifty, and to hash all of them for each takes long.
const LOOK_AGAIN: Option<Duration> =
    if cfg!(debug_assertions) { Some(Duration::from_millis(500)) } else { None };

static LATEST: Mutex<Option<(Instant, Arc<Build>)>> = Mutex::new(None);

/// The files as they are.
pub(super) struct Build {
    /// Changes with any of them, and is part of the address of each.
    pub(super) name: String,
    pub(super) index: Bytes,
    /// Changes with the page.
    pub(super) index_tag: String,
}

impl Build {
    pub(super) fn now() -> Arc<Self> {
        let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, build)) = &*latest
            && LOOK_AGAIN.is_none_or(|after| since.elapsed() < after)
        {
            return build.clone();
        }
        let build = Arc::new(Self::of_files());
        *latest = Some((Instant::now(), build.clone()));
        build
    }

    fn of_files() -> Self {
        let mut paths: Vec<_> = Assets::iter().collect();
        paths.sort();
        let mut all = Sha256::new();
        for path in &paths {
            let file = Assets::get(path).expect("it was listed");
            all.update((path.len() as u64).to_be_bytes());
            all.update(path.as_bytes());
            all.update(file.metadata.sha256_hash());
        }
        let name = hex(&all.finalize());
        let template = Assets::get(INDEX).expect("it is one of them");
        let template = std::str::from_utf8(&template.data).expect("it is text");
        // All of them at once: what is found by following imports takes a round trip for each step, and pages that are opened
        // later need none, also when the program was replaced meanwhile.
        let modules: String = paths
            .iter()
            .filter(|path| path.ends_with(".js") && *path != THEME)
            .map(|path| format!("<link rel=\"modulepreload\" href=\"/assets/{path}\">\n"))
            .collect();
        let index = template.replace(MODULES, &modules).replace("\"/assets/", &format!("\"/assets/{name}/"));
        Self { name, index_tag: hex(&Sha256::digest(&index)), index: index.into() }
    }
}

/// The first 96 bits: enough that two contents never meet.
pub(super) fn hex(hash: &[u8]) -> String {
    hash[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}
