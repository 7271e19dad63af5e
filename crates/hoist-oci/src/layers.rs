//! The layer table: which compressed forms of a layer the store holds.
//!
//! `layers/<diff id>/<compression>.json` holds one descriptor. A blob is compressed once, ever: who needs a layer in some
//! form asks here first. Only what this machine compressed or unpacked itself may be entered, because the table says
//! "this blob unpacks to that diff id" and a pulled configuration merely claims so.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::spec::Descriptor;
use crate::store::StoreError;
use crate::{Compression, Digest, Store};

impl Store {
    /// Enters that `blob` is the layer with the (verified) diff id in this form.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn add_layer(
        &self,
        diff_id: &Digest,
        form: Compression,
        blob: &Descriptor,
    ) -> Result<(), StoreError> {
        let path = self.layer_entry(diff_id, form);
        let json = serde_json::to_vec(blob).map_err(|source| StoreError::Json {
            path: path.clone(),
            source,
        })?;
        self.replace_file(&path, &json)
    }

    /// The forms of a layer whose blobs are in the store, the cheapest to unpack first.
    ///
    /// # Errors
    /// Fails when the file system does, or an entry is damaged.
    pub fn layer_forms(
        &self,
        diff_id: &Digest,
    ) -> Result<Vec<(Compression, Descriptor)>, StoreError> {
        let mut forms = Vec::new();
        for form in Compression::ALL {
            let path = self.layer_entry(diff_id, form);
            let json = match std::fs::read(&path) {
                Ok(json) => json,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => return Err(StoreError::io("read", &path, source)),
            };
            // A power cut may leave an entry empty.
            if json.is_empty() {
                continue;
            }
            let blob: Descriptor = serde_json::from_slice(&json)
                .map_err(|source| StoreError::Json { path, source })?;
            if self.has_all(&blob.digest, blob.size) {
                forms.push((form, blob));
            }
        }
        Ok(forms)
    }

    /// Enters where a table of contents of a layer is.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn add_layer_contents(
        &self,
        diff_id: &Digest,
        table: &Descriptor,
    ) -> Result<(), StoreError> {
        let path = self.contents_entry(diff_id);
        let json = serde_json::to_vec(table).map_err(|source| StoreError::Json {
            path: path.clone(),
            source,
        })?;
        self.replace_file(&path, &json)
    }

    /// The table of contents of a layer, if it is in the store.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn layer_contents(&self, diff_id: &Digest) -> Result<Option<Descriptor>, StoreError> {
        let path = self.contents_entry(diff_id);
        match std::fs::read(&path) {
            Ok(json) => {
                let table: Option<Descriptor> = serde_json::from_slice(&json).ok();
                Ok(table.filter(|table| self.has_all(&table.digest, table.size)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::io("read", &path, source)),
        }
    }

    fn contents_entry(&self, diff_id: &Digest) -> PathBuf {
        let folder = self.root().join("layers").join(diff_id.hex());
        folder.join("contents.json")
    }

    /// Every layer that the table knows, and when it was entered.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn layers(&self) -> Result<Vec<(Digest, SystemTime)>, StoreError> {
        let folder = self.root().join("layers");
        let failed = |source| StoreError::io("list", &folder, source);
        let mut layers = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = format!("sha256:{}", entry.file_name().to_string_lossy());
            if let (Ok(diff_id), Ok(metadata)) = (name.parse(), entry.metadata()) {
                layers.push((diff_id, metadata.modified().map_err(failed)?));
            }
        }
        Ok(layers)
    }

    /// Removes a layer in all its forms. Whether an image still refers to it is the caller's business.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn remove_layer(&self, diff_id: &Digest) -> Result<(), StoreError> {
        for (_, blob) in self.layer_forms(diff_id)? {
            self.remove(&blob.digest)?;
        }
        let folder = self.root().join("layers").join(diff_id.hex());
        match std::fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StoreError::io("remove", &folder, source))
            }
            _ => Ok(()),
        }
    }

    fn layer_entry(&self, diff_id: &Digest, form: Compression) -> PathBuf {
        self.root()
            .join("layers")
            .join(diff_id.hex())
            .join(format!("{form}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::media_type;

    #[test]
    fn each_form_of_a_layer_is_found_as_long_as_its_blob_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let diff_id = store.put(b"tar").unwrap();
        assert_eq!(store.layer_forms(&diff_id).unwrap(), []);

        let plain = Descriptor::of(media_type::LAYER, b"tar");
        store.put(b"gz").unwrap();
        let gzip = Descriptor::of(media_type::LAYER_GZIP, b"gz");
        store.add_layer(&diff_id, Compression::Gzip, &gzip).unwrap();
        store
            .add_layer(&diff_id, Compression::None, &plain)
            .unwrap();
        let forms = store.layer_forms(&diff_id).unwrap();
        assert_eq!(
            forms,
            [
                (Compression::None, plain.clone()),
                (Compression::Gzip, gzip.clone())
            ]
        );

        store.remove(&gzip.digest).unwrap();
        assert_eq!(
            store.layer_forms(&diff_id).unwrap(),
            [(Compression::None, plain)]
        );
        assert_eq!(store.layers().unwrap()[0].0, diff_id);
        store.remove_layer(&diff_id).unwrap();
        assert_eq!(
            (store.layers().unwrap(), store.has(&diff_id)),
            (vec![], false)
        );
    }
}
