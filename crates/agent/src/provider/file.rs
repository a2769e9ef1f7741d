//! Configuration files: read whole, up to a limit, off the async workers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use splashdam_config::text::TEXT_LIMIT_BYTES;

/// All of a file. The error says what to do.
pub(super) async fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    let path = path.to_owned();
    off_worker(move || read_now(&path)).await
}

/// As [`read`], but `None` for what is gone (as in Flume: no modification) or can be read only
/// once, such as a pipe.
pub(super) async fn read_again(path: &Path) -> Result<Option<Arc<[u8]>>, String> {
    let path = path.to_owned();
    off_worker(move || match fs::metadata(&path) {
        Ok(meta) if !meta.is_file() => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("it is gone; what it said before stays in force".into())
        }
        _ => read_now(&path).map(Some),
    })
    .await
}

/// Puts `content` in place of the file for good, all or nothing, readable by its owner only.
pub(super) async fn replace(path: &Path, content: Vec<u8>) -> io::Result<()> {
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || replace_now(&path, &content));
    done.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

async fn off_worker<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(error.to_string()))
}

fn read_now(path: &PathBuf) -> Result<Arc<[u8]>, String> {
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("{error}; check the path given with --conf-file"),
        io::ErrorKind::PermissionDenied => {
            format!("{error}; let the user that runs the agent read it")
        }
        io::ErrorKind::IsADirectory => format!("{error}; name a file in it"),
        _ => error.to_string(),
    };
    let file = File::open(path).map_err(explain)?;
    let mut bytes = Vec::new();
    let limit = TEXT_LIMIT_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() > TEXT_LIMIT_BYTES {
        return Err(format!(
            "it is larger than {} MiB; is it a configuration?",
            TEXT_LIMIT_BYTES >> 20
        ));
    }
    Ok(bytes.into())
}

fn replace_now(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let aside = path.with_extension("properties.tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
