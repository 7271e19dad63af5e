//! The numbers of device nodes in Linux's form, which images have on every machine (`makedev(3)`).

pub(crate) fn number(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

pub(crate) fn major(device: u64) -> u64 {
    device >> 8 & 0xfff | device >> 32 & !0xfff
}

pub(crate) fn minor(device: u64) -> u64 {
    device & 0xff | device >> 12 & 0xffff_ff00
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        use std::os::unix::fs::MetadataExt;
        let null = std::fs::metadata("/dev/null").unwrap().rdev();
        assert_eq!((major(null), minor(null)), (1, 3));
        for (high, low) in [
            (0, 0),
            (8, 17),
            (4095, 255),
            (4096, 256),
            (70_000, 1_000_000),
        ] {
            let device = number(high, low);
            assert_eq!((major(device), minor(device)), (high.into(), low.into()));
        }
    }
}
