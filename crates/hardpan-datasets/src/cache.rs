//! [`Cache`]: the folder where data sets are kept.

use crate::download::{Progress, download, md5_of_start, sha256};
use crate::error::{DatasetError, io};
use crate::registry::{DataSet, Packing, Published, Sum, find, similar};
use crate::unpack::{inner, unpack};
use etcetera::BaseStrategy;
use std::path::{Path, PathBuf};

/// A folder of data sets: `archives/` has the files as they were downloaded, `checksums` their SHA-256, and each set has a folder of
/// its own. Nothing in it is ever half done: downloads and unpacking go to other names first.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    offline: bool,
}

impl Cache {
    /// The user's: `HARDPAN_DATASETS` if that is set, else `hardpan/datasets` in the cache directory of the system
    /// (`~/.cache` on Linux).
    ///
    /// # Errors
    /// If there is no home directory.
    pub fn user() -> Result<Cache, DatasetError> {
        if let Some(folder) = std::env::var_os("HARDPAN_DATASETS").filter(|f| !f.is_empty()) {
            return Ok(Cache::at(folder));
        }
        let strategy = etcetera::choose_base_strategy().map_err(|_| DatasetError::NoCache)?;
        Ok(Cache::at(strategy.cache_dir().join("hardpan").join("datasets")))
    }

    /// In this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into(), offline: false }
    }

    /// Downloads nothing.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Cache {
        self.offline = offline;
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with a data set's files. `what` is a name of the [registry](crate::DATA_SETS), a folder (which is given back as it
    /// is), an archive, or an address (`http:`, `https:`, `file:`) of one. What is not here yet is downloaded, verified, and unpacked.
    ///
    /// # Errors
    /// If it cannot be had; see [`DatasetError`].
    pub fn get(
        &self,
        what: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, DatasetError> {
        if let Some(path) = what.strip_prefix("file://") {
            return self.local(Path::new(path));
        }
        if what.starts_with("http://") || what.starts_with("https://") {
            let file = what.split(['?', '#']).next().unwrap_or(what).rsplit('/').next();
            let file = file.filter(|f| !f.is_empty()).unwrap_or("download");
            return self.fetch(stem(file), &[what], None, progress);
        }
        if let Some(set) = find(what) {
            return self.registered(set, progress);
        }
        let path = Path::new(what);
        match path.exists() {
            true => self.local(path),
            false => Err(DatasetError::Unknown { name: what.to_owned(), similar: similar(what) }),
        }
    }

    /// Where a set of the registry is, if it is here already: in the cache, or installed by the system.
    pub fn present(&self, set: &DataSet) -> Option<PathBuf> {
        let unpacked = self.folder.join(set.name);
        if unpacked.is_dir() {
            return Some(inner(&unpacked));
        }
        set.installed.iter().map(PathBuf::from).find(|p| p.is_dir())
    }

    fn registered(
        &self,
        set: &DataSet,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, DatasetError> {
        if let Some(path) = self.present(set) {
            return Ok(path);
        }
        if set.urls.is_empty() {
            let places = set.installed.join(" or ");
            return Err(DatasetError::NotInstalled { name: set.name.to_owned(), places });
        }
        self.fetch(set.name, set.urls, set.published, progress)
    }

    /// A folder as it is; an archive unpacked.
    fn local(&self, path: &Path) -> Result<PathBuf, DatasetError> {
        if path.is_dir() {
            return Ok(path.to_owned());
        }
        let meta = std::fs::metadata(path).map_err(io(path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let packing = Packing::of(&file);
        if packing == Packing::File {
            return Ok(path.to_owned());
        }
        // The same name may stand for another file tomorrow.
        let modified =
            meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |d| d.as_nanos());
        let target =
            self.folder.join("local").join(format!("{}-{}-{modified:x}", stem(&file), meta.len()));
        if !target.is_dir() {
            unpack(path, packing, &target)?;
        }
        Ok(inner(&target))
    }

    fn fetch(
        &self,
        name: &str,
        urls: &[&str],
        known: Option<Published>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, DatasetError> {
        let target = self.folder.join(name);
        if target.is_dir() {
            return Ok(inner(&target));
        }
        let file = urls[0].split(['?', '#']).next().unwrap_or(urls[0]);
        let file = file.rsplit('/').next().filter(|f| !f.is_empty()).unwrap_or(name);
        let archives = self.folder.join("archives");
        let archive = archives.join(file);
        if !archive.is_file() {
            if self.offline {
                return Err(DatasetError::Offline { name: name.to_owned(), folder: archives });
            }
            std::fs::create_dir_all(&archives).map_err(io(&archives))?;
            let mut result = Ok(());
            for url in urls {
                result = download(url, &archive, progress);
                if result.is_ok() {
                    break;
                }
            }
            result?;
        }
        self.verify(&archive, file, known)?;
        if let Err(e) = unpack(&archive, Packing::of(file), &target) {
            if matches!(e, DatasetError::Archive { .. }) {
                // A damaged file would be found here again and again.
                let _ = std::fs::remove_file(&archive);
            }
            return Err(e);
        }
        Ok(inner(&target))
    }

    /// Holds a file against what is published about it and against its first download. One that is not the same is removed.
    fn verify(
        &self,
        archive: &Path,
        file: &str,
        known: Option<Published>,
    ) -> Result<(), DatasetError> {
        let differs = |what, found: String, expected: String| {
            let _ = std::fs::remove_file(archive);
            Err(DatasetError::Checksum { path: archive.to_owned(), what, found, expected })
        };
        if let Some(known) = known {
            let bytes = std::fs::metadata(archive).map_err(io(archive))?.len();
            if bytes != known.bytes {
                return differs("length in bytes", bytes.to_string(), known.bytes.to_string());
            }
            let (what, found, expected) = match known.sum {
                Sum::Sha256(sum) => ("SHA-256", sha256(archive)?, sum),
                Sum::Start(sum) => ("MD5 of its first MiB", md5_of_start(archive)?, sum),
            };
            if found != expected {
                return differs(what, found, expected.to_owned());
            }
            if matches!(known.sum, Sum::Sha256(_)) {
                return Ok(());
            }
        }
        let found = sha256(archive)?;
        let record = self.folder.join("checksums");
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        let recorded = text.lines().find_map(|l| {
            let (sum, name) = l.split_once("  ")?;
            (name == file).then(|| sum.to_owned())
        });
        match recorded {
            Some(sum) if sum == found => Ok(()),
            Some(sum) => differs("SHA-256, as recorded at an earlier download,", found, sum),
            None => {
                let text = format!("{text}{found}  {file}\n");
                std::fs::write(&record, text).map_err(io(&record))
            }
        }
    }
}

/// The name without the endings of archives.
fn stem(file: &str) -> &str {
    let endings = [".tgz", ".tar.gz", ".zip"];
    let cut = endings.iter().find_map(|e| file.strip_suffix(e));
    cut.filter(|s| !s.is_empty() && !s.starts_with('.')).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that lies where a download would have put it.
    fn fetched(content: &str, known: Published) -> (tempfile::TempDir, Result<(), DatasetError>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("archives")).unwrap();
        std::fs::write(dir.path().join("archives/set.csv"), content).unwrap();
        let cache = Cache::at(dir.path()).offline(true);
        let got = cache.fetch("set", &["https://example.org/set.csv"], Some(known), &mut |_| ());
        (dir, got.map(drop))
    }

    #[test]
    fn files_are_held_against_what_is_published() {
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for sum in [Sum::Start(md5), Sum::Sha256(sha)] {
            let known = Published { bytes: 3, sum };
            fetched("abc", known).1.unwrap();
            for (content, what) in [("abcd", "length"), ("abd", "MD5|SHA-256")] {
                let (dir, got) = fetched(content, known);
                let message = got.unwrap_err().to_string();
                assert!(what.split('|').any(|w| message.contains(w)), "{message}");
                assert!(
                    !dir.path().join("archives/set.csv").exists() && message.contains("removed")
                );
            }
        }
    }
}
