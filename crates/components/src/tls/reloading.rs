//! A configuration of TLS that is made of files, and made again when these change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use splashdam_core::{Cause, Context, Trouble};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

/// How often the files are looked at, at the most.
const LOOK: Duration = Duration::from_secs(30);

/// The current configuration, and how to make the next.
pub(super) struct Reloading<C> {
    cx: Context,
    recipe: Arc<Recipe<C>>,
    state: Mutex<State<C>>,
}

struct Recipe<C> {
    files: Vec<PathBuf>,
    make: Make<C>,
}

/// Reads files and makes a configuration of them. Blocking.
type Make<C> = Box<dyn Fn() -> Result<C, Cause> + Send + Sync>;

struct State<C> {
    current: Arc<C>,
    stamps: Vec<Stamp>,
    looked: Instant,
    trouble: Trouble,
}

/// What differs when a file was written or replaced: time of writing with its nanoseconds, length, number. `None` when
/// it is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

impl<C> Recipe<C> {
    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path| {
            let file = fs::metadata(path).ok()?;
            Some((file.mtime(), file.mtime_nsec(), file.len(), file.ino()))
        };
        self.files.iter().map(stamp).collect()
    }
}

impl<C: Send + Sync + 'static> Reloading<C> {
    /// Makes the first one.
    pub(super) async fn new(
        cx: Context,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<C, Cause> + Send + Sync + 'static,
    ) -> Result<Self, Cause> {
        let recipe = Arc::new(Recipe { files, make: Box::new(make) });
        let made = recipe.clone();
        // What is written between the two is seen as a change later, rather than never.
        let made = spawn_blocking(move || (made.stamps(), (made.make)()));
        let (stamps, current) = made.await?;
        let (current, looked) = (Arc::new(current?), cx.world.instant());
        let state = Mutex::new(State { current, stamps, looked, trouble: Trouble::new() });
        Ok(Reloading { cx, recipe, state })
    }

    /// The configuration to use now. Files that cannot be used leave the old one in force.
    pub(super) async fn current(&self) -> Arc<C> {
        let now = self.cx.world.instant();
        let old = {
            let mut state = self.state();
            if now.saturating_duration_since(state.looked) < LOOK {
                return state.current.clone();
            }
            // Whoever comes meanwhile does not look as well.
            state.looked = now;
            state.stamps.clone()
        };
        let recipe = self.recipe.clone();
        let looked = spawn_blocking(move || {
            let stamps = recipe.stamps();
            (stamps != old).then(|| ((recipe.make)(), stamps))
        });
        let looked = looked.await;
        let component = self.cx.title();
        let mut state = self.state();
        match looked {
            Ok(None) | Err(_) => {}
            Ok(Some((Ok(new), stamps))) => {
                info!(%component, "certificates were read again, as their files have changed");
                (state.current, state.stamps) = (Arc::new(new), stamps);
                state.trouble.ended(now);
            }
            Ok(Some((Err(error), _))) => {
                if state.trouble.happened(now, &error.to_string()).is_some() {
                    warn!(%component, %error, "the files of the certificates have changed and cannot be used; going on with the old ones");
                }
            }
        }
        state.current.clone()
    }

    // Each change is one assignment, so a panic elsewhere leaves it whole.
    fn state(&self) -> std::sync::MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
