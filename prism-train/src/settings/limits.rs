//! Ranges of the numbers that only this program knows, and what they contradict; all others are
//! [`prism_fl::settings::limits::LIMITS`].

use prism_data::Source;
use prism_fl::settings::limits::{self, Limit, MAX_COUNT, Range};
use prism_nn::{Error, Result};

use super::Settings;

const THREADS: Range = Range::new(0.0, 1024.0, "0 (one per core) to 1024");

const fn limit(key: &'static str, value: fn(&Settings) -> f64, range: Range) -> Limit<Settings> {
    Limit { key, value, range }
}

static LIMITS: [Limit<Settings>; 4] = [
    limit("limit", |s| s.data.limit.unwrap_or(1) as f64, Range::new(1.0, 1e12, "at least 1 image")),
    limit("channels", |s| s.data.channels.unwrap_or(1) as f64, Range::one_of(&[1.0, 3.0], "1 (grey) or 3 (colour)")),
    limit("threads", |s| s.run.threads as f64, THREADS),
    limit("sample-every", |s| s.run.sample_every.into(), Range::new(0.0, MAX_COUNT, "0 (never) to 4294967295")),
];

/// The range of the setting `key`; none if it is no number.
pub fn range(key: &str) -> Option<&'static Range> {
    let own = LIMITS.iter().map(|limit| (limit.key, &limit.range));
    let agreed = limits::LIMITS.iter().map(|limit| (limit.key, &limit.range));
    own.chain(agreed).find_map(|(name, range)| (name == key).then_some(range))
}

pub(super) fn validate(settings: &Settings) -> Result<()> {
    limits::check(&LIMITS, settings)?;
    match settings.privacy.epsilon.and_then(|_| moved_by_one_image(settings)) {
        Some(why) => Err(Error::usage(why)),
        None => Ok(()),
    }
}

/// What one image of a folder would change of the others before any noise covers it: images of classes take turns, so that one of
/// another class would bring others under a limit; and all are read in colour if one is.
fn moved_by_one_image(settings: &Settings) -> Option<String> {
    let data = &settings.data;
    if data.dataset != Source::Folder {
        return None;
    }
    if let Some(limit) = data.limit {
        return Some(format!(
            "`limit` is {limit}, and which images of a folder it takes could hang on one of them, which `epsilon` does not cover; \
             leave it out, and move what is not to be used out of the folder"
        ));
    }
    data.channels.is_none().then(|| {
        "`channels` is not given, so one picture in colour would have all of a folder read in colour, which `epsilon` does not \
         cover; choose 1 (grey) or 3 (colour)"
            .to_string()
    })
}

/// Refuses more threads than any machine has use for, before the first one is started.
///
/// # Errors
/// [`prism_core::Error::Usage`] naming the limit.
pub fn check_threads(threads: usize) -> Result<()> {
    Ok(THREADS.check("threads", threads as f64)?)
}
