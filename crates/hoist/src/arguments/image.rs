//! Options of `hoist image`.

use std::path::PathBuf;

use clap::Subcommand;

use super::values::bytes;
use crate::render::Output;

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Import a root file system as an image that `FROM NAME` finds
    #[command(
        after_help = "Examples:\n  hoist image import ./rootfs my/base:1\n  hoist image import rootfs.tar.gz my/base:1"
    )]
    Import {
        /// A folder, or a tar archive, plain or compressed with gzip, bzip2, xz or zstd
        source: PathBuf,
        /// Name of the image
        name: String,
    },
    /// List the images
    Ls,
    /// Remove names of images
    Rm {
        /// Names of images, as `ls` shows them
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Print an image's manifest and configuration as JSON
    Inspect {
        /// Name of the image
        name: String,
    },
    /// Write an image to an archive (NAME.tar, for `docker load`), or to a folder as an OCI layout
    Export {
        /// Name of the image
        name: String,
        /// An archive that ends with .tar, or a folder
        target: PathBuf,
    },
    /// Push an image to a registry; its reference is the last line of standard output
    #[command(
        after_help = "Layers are compressed, hashed and sent as one stream, and a layer is compressed once ever.\n\nExamples:\n  hoist image push shop/web registry.example/shop/web:1\n  hoist image push --compression zstd --sign cosign.key shop/web registry.example/shop/web:1"
    )]
    Push {
        /// Name of the image on this machine
        name: String,
        /// Repository and tag
        target: String,
        /// How layers travel: none, gzip or zstd; without it as they are
        #[arg(long, value_name = "FORM")]
        compression: Option<hoist_oci::Compression>,
        /// Let the tag go over from another image
        #[arg(long)]
        force: bool,
        /// Sign the image with this private key, as cosign does
        #[arg(long, value_name = "KEY")]
        sign: Option<PathBuf>,
        /// How progress is shown
        #[arg(short, long, value_enum, default_value = "auto")]
        output: Output,
    },
    /// The steps that made an image, with the size of their layers
    History {
        /// Name of the image
        name: String,
    },
    /// The files that differ between two images
    Diff {
        /// Name of the first image
        before: String,
        /// Name of the second image
        after: String,
    },
    /// What makes an image large, and what would make it smaller
    Why {
        /// Name of the image
        name: String,
    },
    /// Remove what builds left and nobody used for longest; named images stay
    Prune {
        /// Size that the cache may keep, such as 5G; 0 keeps nothing
        #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = bytes)]
        keep: u64,
        /// Also remove what was used in the last hour
        #[arg(long)]
        now: bool,
    },
}
