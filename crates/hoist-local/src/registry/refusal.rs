use hoist_oci::{Digest, StoreError};

use crate::ctx::ACCOUNT;
use crate::state::StateError;

/// Why the registry does not do what it is asked for. The messages are ECR's; the codes are those of its API and those of the
/// distribution specification.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such repository.
    #[error("The repository with name '{0}' does not exist in the registry with id '{ACCOUNT}'")]
    NoRepository(String),
    /// There is one already.
    #[error("The repository with name '{0}' already exists in the registry with id '{ACCOUNT}'")]
    RepositoryExists(String),
    /// It holds images and `force` is not set.
    #[error(
        "The repository with name '{0}' in registry with id '{ACCOUNT}' cannot be deleted because it still contains images"
    )]
    NotEmpty(String),
    /// Names nothing that can be a repository.
    #[error(
        "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression \
         '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*''"
    )]
    BadName(String),
    /// There is no such image.
    #[error(
        "The image with imageId {{imageDigest:'{digest}', imageTag:'{tag}'}} does not exist within the repository with name \
         '{repository}' in the registry with id '{ACCOUNT}'"
    )]
    NoImage {
        /// The repository.
        repository: String,
        /// The digest asked for, or `null`.
        digest: String,
        /// The tag asked for, or `null`.
        tag: String,
    },
    /// The very same image is there with that tag.
    #[error(
        "Image with digest '{digest}' and tag '{tag}' already exists in the repository with name '{repository}' in registry with id \
         '{ACCOUNT}'"
    )]
    ImageExists {
        /// The repository.
        repository: String,
        /// The digest of the image.
        digest: Digest,
        /// The tag asked for, or `null`.
        tag: String,
    },
    /// An immutable tag.
    #[error(
        "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the tag is \
         immutable."
    )]
    TagImmutable {
        /// The repository.
        repository: String,
        /// The tag.
        tag: String,
    },
    /// A manifest refers to blobs that the repository does not have.
    #[error(
        "The layers with digests '[{}]' required for pushing image into repository with name '{repository}' in the registry with \
         id '{ACCOUNT}' do not exist",
        comma(missing)
    )]
    LayersMissing {
        /// The repository.
        repository: String,
        /// The blobs.
        missing: Vec<Digest>,
    },
    /// An index refers to images that the repository does not have.
    #[error(
        "The images with digests '[{}]' required for pushing the manifest list into repository with name '{repository}' in the \
         registry with id '{ACCOUNT}' do not exist",
        comma(missing)
    )]
    ImagesMissing {
        /// The repository.
        repository: String,
        /// The images.
        missing: Vec<Digest>,
    },
    /// Not a manifest.
    #[error(
        "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax': {0}"
    )]
    BadManifest(String),
    /// A tag that breaks the grammar.
    #[error(
        "Invalid parameter at 'imageTag' failed to satisfy constraint: 'Invalid image tag': {0}"
    )]
    BadTag(String),
    /// The content has another digest.
    #[error(
        "The specified digest '{expected}' does not match the digest of the content, '{actual}'"
    )]
    WrongDigest {
        /// What was said.
        expected: String,
        /// What is so.
        actual: Digest,
    },
    /// No such blob in the repository.
    #[error(
        "The layer with digest '{digest}' does not exist in the repository with name '{repository}' in the registry with id '{ACCOUNT}'"
    )]
    NoBlob {
        /// The repository.
        repository: String,
        /// The blob.
        digest: String,
    },
    /// The layer is there.
    #[error(
        "The layer with digest '{digest}' already exists in the repository with name '{repository}' in the registry with id '{ACCOUNT}'"
    )]
    LayerExists {
        /// The repository.
        repository: String,
        /// The layer.
        digest: Digest,
    },
    /// No such upload.
    #[error(
        "Upload with id '{id}' could not be found for the repository with name '{repository}' in the registry with id \
         '{ACCOUNT}'"
    )]
    NoUpload {
        /// The repository.
        repository: String,
        /// The id of the upload.
        id: String,
    },
    /// A part that is not the next one.
    #[error(
        "Invalid layer part: the next byte of upload '{id}' in the repository with name '{repository}' is {expected}, and the part \
         begins with {begins}"
    )]
    BadPart {
        /// The repository.
        repository: String,
        /// The id of the upload.
        id: String,
        /// The byte that should come.
        expected: u64,
        /// The byte that came.
        begins: u64,
    },
    /// An upload without content.
    #[error("The upload '{id}' in the repository with name '{repository}' is empty")]
    EmptyUpload {
        /// The repository.
        repository: String,
        /// The id of the upload.
        id: String,
    },
    /// Nothing that the registry knows.
    #[error("The operation is unsupported")]
    Unsupported,
    /// The connection broke while content came.
    #[error("The connection ended before all of the content was there")]
    Interrupted,
    /// The blob store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

fn comma(digests: &[Digest]) -> String {
    digests
        .iter()
        .map(Digest::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Refusal {
    /// The exception of the ECR API.
    pub fn exception(&self) -> &'static str {
        match self {
            Self::NoRepository(_) => "RepositoryNotFoundException",
            Self::RepositoryExists(_) => "RepositoryAlreadyExistsException",
            Self::NotEmpty(_) => "RepositoryNotEmptyException",
            Self::BadName(_) | Self::BadManifest(_) | Self::BadTag(_) | Self::Unsupported => {
                "InvalidParameterException"
            }
            Self::NoImage { .. } => "ImageNotFoundException",
            Self::ImageExists { .. } => "ImageAlreadyExistsException",
            Self::TagImmutable { .. } => "ImageTagAlreadyExistsException",
            Self::LayersMissing { .. } | Self::NoBlob { .. } => "LayersNotFoundException",
            Self::LayerExists { .. } => "LayerAlreadyExistsException",
            Self::ImagesMissing { .. } => "ReferencedImagesNotFoundException",
            Self::WrongDigest { .. } => "ImageDigestDoesNotMatchException",
            Self::NoUpload { .. } => "UploadNotFoundException",
            Self::BadPart { .. } => "InvalidLayerPartException",
            Self::EmptyUpload { .. } => "EmptyUploadException",
            Self::Interrupted | Self::Store(_) | Self::State(_) => "ServerException",
        }
    }

    /// The code and the HTTP status of the distribution API
    /// (<https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes>).
    pub fn distribution(&self) -> (&'static str, u16) {
        match self {
            Self::NoRepository(_) => ("NAME_UNKNOWN", 404),
            Self::BadName(_) => ("NAME_INVALID", 400),
            Self::NoImage { .. } => ("MANIFEST_UNKNOWN", 404),
            Self::TagImmutable { .. } => ("TAG_INVALID", 400),
            Self::BadTag(_) => ("TAG_INVALID", 400),
            Self::LayersMissing { .. } | Self::ImagesMissing { .. } => {
                ("MANIFEST_BLOB_UNKNOWN", 404)
            }
            Self::BadManifest(_) => ("MANIFEST_INVALID", 400),
            Self::WrongDigest { .. } => ("DIGEST_INVALID", 400),
            Self::NoBlob { .. } => ("BLOB_UNKNOWN", 404),
            Self::NoUpload { .. } => ("BLOB_UPLOAD_UNKNOWN", 404),
            Self::BadPart { .. } => ("BLOB_UPLOAD_INVALID", 416),
            Self::EmptyUpload { .. } => ("BLOB_UPLOAD_INVALID", 400),
            Self::RepositoryExists(_)
            | Self::NotEmpty(_)
            | Self::ImageExists { .. }
            | Self::LayerExists { .. }
            | Self::Unsupported => ("UNSUPPORTED", 405),
            Self::Interrupted => ("BLOB_UPLOAD_INVALID", 400),
            Self::Store(error) if error.is_disk_full() => ("UNKNOWN", 507),
            Self::Store(_) | Self::State(_) => ("UNKNOWN", 500),
        }
    }
}
