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
    #[command(after_help = "Example:\n  hoist image ls")]
    Ls,
    /// Remove names of images
    #[command(
        after_help = "What no name and no build needs any more goes with `hoist image prune`.\n\nExample:\n  hoist image rm shop/web my/base:1"
    )]
    Rm {
        /// Names of images, as `ls` shows them
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Print an image's manifest and configuration as JSON
    #[command(
        after_help = "Examples:\n  hoist image inspect shop/web\n  hoist image inspect \"$(hoist build)\""
    )]
    Inspect {
        /// Name of the image, or its digest
        name: String,
    },
    /// Write an image to an archive (NAME.tar, for `docker load`), or to a folder as an OCI layout
    #[command(
        after_help = "Examples:\n  hoist image export shop/web web.tar && docker load -i web.tar\n  hoist image export shop/web layout"
    )]
    Export {
        /// Name of the image, or its digest
        name: String,
        /// An archive that ends with .tar, or a folder
        target: PathBuf,
    },
    /// Push an image to a registry; its reference is the last line of standard output
    #[command(
        after_help = "Layers are compressed, hashed and sent as one stream, and a layer is compressed once ever.\n\nExamples:\n  hoist image push shop/web registry.example/shop/web:1\n  hoist image push --compression zstd --sign cosign.key shop/web registry.example/shop/web:1"
    )]
    Push {
        /// Name of the image on this machine, or its digest
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
    #[command(after_help = "Example:\n  hoist image history shop/web")]
    History {
        /// Name of the image, or its digest
        name: String,
    },
    /// The files that differ between two images
    #[command(
        after_help = "`+` is only in the second, `-` only in the first, `~` differs.\n\nExample:\n  hoist image diff shop/web:1 shop/web:2"
    )]
    Diff {
        /// Name of the first image, or its digest
        before: String,
        /// Name of the second image, or its digest
        after: String,
    },
    /// What makes an image large, and what would make it smaller
    #[command(after_help = "Example:\n  hoist image why shop/web")]
    Why {
        /// Name of the image, or its digest
        name: String,
    },
    /// Remove what builds left and nobody used for longest; named images stay
    #[command(
        after_help = "Examples:\n  hoist image prune --keep 5G\n  hoist image prune --keep 0 --now"
    )]
    Prune {
        /// Size that the cache may keep, such as 5G; 0 keeps nothing
        #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = bytes)]
        keep: u64,
        /// Also remove what was used in the last hour
        #[arg(long)]
        now: bool,
    },
}
