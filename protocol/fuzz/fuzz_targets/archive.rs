//! Indexes of archives, chunks, and signatures of builders: what is read holds together, whatever the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noderr_archive::{Index, builder_in, check_artefact};
use noderr_protocol::HexDigest;
use noderr_protocol::release::{Archive, Builders, Content, Manifest};

fuzz_target!(|input: (u32, u32, &[u8], &[u8])| {
    let (content_bytes, archive_bytes, index, chunk) = input;
    let digest = HexDigest([0; 32]);
    let content = Content { bytes: content_bytes.into(), sha256: digest };
    let archive = Archive {
        bytes: archive_bytes.into(),
        sha256: digest,
        index_bytes: index.len() as u64,
        index_sha256: digest,
    };
    if let Ok(index) = Index::read(index, &content, &archive) {
        let total: u64 = index.places().map(|(_, number)| u64::from(index.chunks()[number].length)).sum();
        assert_eq!(total, content.bytes);
        for found in index.chunks().iter().take(4) {
            if let Ok(opened) = index.open(found, chunk) {
                assert!(index.is(found, &opened));
            }
        }
        index.cut(chunk).for_each(drop);
    }
    if let Ok(text) = std::str::from_utf8(chunk) {
        let name = "os/generic/1.0.0".parse().expect("a name");
        let manifest = Manifest::new(name, content.clone(), archive.clone(), text.to_owned());
        let keys = builder_in(text).into_iter().collect();
        assert!(check_artefact(&b""[..], &manifest, &Builders { keys }).is_err());
    }
});
