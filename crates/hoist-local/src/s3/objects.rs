use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::answer::Refusal;
use super::parts::Upload;
use crate::clock::{self, Millis};
use crate::settings::write_whole;
use crate::state::{State, Table};

/// A bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    pub region: String,
    pub created: Millis,
}

/// An object: what is known of it; its bytes lie in a file that is named after their digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    pub digest: String,
    pub size: u64,
    pub content_type: String,
    pub modified: Millis,
    /// `x-amz-meta-...`, and what HTTP says of content besides its type.
    pub headers: Vec<(String, String)>,
    /// Of how many parts it was put together; 0 if it came in one piece.
    #[serde(default)]
    pub parts: usize,
}

impl Object {
    /// Its entity tag, without quotes. Not an MD5, as with objects that are encrypted with a key of KMS.
    pub fn tag(&self) -> String {
        match self.parts {
            0 => self.digest[..32].to_owned(),
            parts => format!("{}-{parts}", &self.digest[..32]),
        }
    }
}

/// Buckets and objects of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    pub(super) buckets: Table<Bucket>,
    /// By `BUCKET/KEY`.
    pub(super) objects: Table<Object>,
    /// By their ids.
    pub(super) uploads: Table<Upload>,
    pub(super) folder: PathBuf,
}

impl Objects {
    /// What `state` keeps of them; bytes lie in `folder`.
    pub fn open(state: &State, folder: PathBuf) -> Objects {
        Objects {
            buckets: state.table("s3-buckets"),
            objects: state.table("s3-objects"),
            uploads: state.table("s3-uploads"),
            folder,
        }
    }

    /// The bucket of that name.
    pub fn bucket(&self, name: &str) -> Result<Bucket, Refusal> {
        let found = self.buckets.get("", name)?;
        found
            .ok_or_else(|| Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist"))
    }

    /// An object.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Object, Refusal> {
        self.bucket(bucket)?;
        let found = self.objects.get("", &format!("{bucket}/{key}"))?;
        found.ok_or_else(|| Refusal::new(404, "NoSuchKey", "The specified key does not exist."))
    }

    /// Its bytes.
    pub fn bytes(&self, object: &Object) -> Result<Vec<u8>, Refusal> {
        Ok(std::fs::read(self.folder.join(&object.digest))?)
    }

    /// Some of its bytes, from the first to the last that is wanted.
    pub fn slice(&self, object: &Object, first: u64, last: u64) -> Result<Vec<u8>, Refusal> {
        let mut file = std::fs::File::open(self.folder.join(&object.digest))?;
        file.seek(SeekFrom::Start(first))?;
        let mut bytes = Vec::new();
        file.take(last + 1 - first).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Keeps an object.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        headers: Vec<(String, String)>,
        bytes: &[u8],
    ) -> Result<Object, Refusal> {
        self.bucket(bucket)?;
        let object = Object {
            digest: hex::encode(Sha256::digest(bytes)),
            size: bytes.len() as u64,
            content_type: content_type.to_owned(),
            modified: clock::now(),
            headers,
            parts: 0,
        };
        std::fs::create_dir_all(&self.folder)?;
        write_whole(&self.folder.join(&object.digest), bytes)?;
        self.keep(bucket, key, object)
    }

    /// Keeps an object whose bytes are there.
    pub(super) fn keep(&self, bucket: &str, key: &str, object: Object) -> Result<Object, Refusal> {
        let row = format!("{bucket}/{key}");
        let old = self.objects.get("", &row)?;
        self.objects.put("", &row, &object)?;
        if let Some(old) = old.filter(|old| old.digest != object.digest) {
            self.forget(&old)?;
        }
        Ok(object)
    }

    /// Removes an object, if it is there.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<(), Refusal> {
        self.bucket(bucket)?;
        let row = format!("{bucket}/{key}");
        if let Some(old) = self.objects.get("", &row)? {
            self.objects.delete("", &row)?;
            self.forget(&old)?;
        }
        Ok(())
    }

    /// Removes bytes that no object has any more.
    fn forget(&self, old: &Object) -> Result<(), Refusal> {
        let rest = self.objects.list("")?;
        if rest.iter().all(|(_, it)| it.digest != old.digest) {
            std::fs::remove_file(self.folder.join(&old.digest))?;
        }
        Ok(())
    }

    /// The objects of a bucket whose keys begin so, by key.
    pub fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, Object)>, Refusal> {
        self.bucket(bucket)?;
        let all = self.objects.list("")?;
        let key = |row: &str| Some(row.strip_prefix(bucket)?.strip_prefix('/')?.to_owned());
        let found = all
            .into_iter()
            .filter_map(|(row, it)| Some((key(&row)?, it)));
        Ok(found.filter(|(key, _)| key.starts_with(prefix)).collect())
    }

    /// The text of an object that an ARN names, such as `arn:aws:s3:::bucket/web.env`.
    ///
    /// # Errors
    /// The words of the download's error.
    pub fn text(&self, arn: &str) -> Result<String, String> {
        let path = arn.splitn(6, ':').nth(5).unwrap_or_default();
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let bytes = self
            .object(bucket, key)
            .and_then(|object| self.bytes(&object))
            .map_err(|refusal| refusal.to_string())?;
        String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())
    }
}
