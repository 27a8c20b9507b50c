//! Whether every length that a DICOM file states lies within the file.
//!
//! The library takes memory for a value before it reads it, so that a file of a few hundred bytes could ask for gigabytes.
//! Elements are walked one after the other, those inside sequences and items like all others: PS3.5, section 7.

const HEAD: usize = 132;
const UNDEFINED: u32 = u32::MAX;
const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];
const PIXELS: [u8; 4] = [0xe0, 0x7f, 0x10, 0x00];

/// Types whose length has 32 bits after two that mean nothing.
const LONG: [&[u8; 2]; 13] =
    [b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"];

/// Types whose length has 16 bits.
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
];

/// How the elements after the file's own description are written, by the end of its name in PS3.5, annex A.
#[derive(Clone, Copy, PartialEq)]
enum Types {
    Stated,
    Implied,
}

/// Checks the file content `bytes`, which has the usual beginning; says what is wrong.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut walk = Walk { rest: &bytes[HEAD.min(bytes.len())..] };
    let syntax = walk.description()?;
    let types = match syntax.strip_prefix("1.2.840.10008.1.2") {
        Some("") => Types::Implied,
        Some(".1" | ".4.50" | ".4.51" | ".4.57" | ".4.70" | ".5") => Types::Stated,
        _ => {
            return Err(format!(
                "its DICOM is written by transfer syntax {syntax:.64?}, and only plain, JPEG and RLE are read; convert it to PNG"
            ));
        }
    };
    while !walk.rest.is_empty() {
        walk.element(types)?;
    }
    Ok(())
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("the DICOM ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn tag(&mut self) -> Result<[u8; 4], String> {
        let tag = self.take(4)?;
        Ok([tag[0], tag[1], tag[2], tag[3]])
    }

    fn long(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.tag()?))
    }

    /// The type, empty where it is implied, and the length of the element whose tag was read.
    fn type_and_length(&mut self, types: Types) -> Result<(&'a [u8], u32), String> {
        if types == Types::Implied {
            return Ok((&[], self.long()?));
        }
        let kind = self.take(2)?;
        let short = self.take(2)?;
        let is_of = |types: &[&[u8; 2]]| types.iter().any(|known| known.as_slice() == kind);
        match (is_of(&SHORT), is_of(&LONG)) {
            (true, _) => Ok((kind, u16::from_le_bytes([short[0], short[1]]).into())),
            (_, true) => Ok((kind, self.long()?)),
            _ => Err("its DICOM has values of a type that does not exist".into()),
        }
    }

    /// The elements of group 2, which say how all others are written.
    fn description(&mut self) -> Result<String, String> {
        let mut syntax = String::new();
        // How much the library reads as the description, and what was left when that was said.
        let mut stated = None;
        while self.rest.starts_with(&[2, 0]) {
            let tag = self.tag()?;
            let (_, length) = self.type_and_length(Types::Stated)?;
            let value = self.take(length as usize)?;
            match (tag, value) {
                ([2, 0, 0, 0], &[a, b, c, d]) => stated = Some((u32::from_le_bytes([a, b, c, d]), self.rest.len())),
                ([2, 0, 0x10, 0], name) => syntax = String::from_utf8_lossy(name).trim_end_matches(['\0', ' ']).into(),
                _ => {}
            }
        }
        match stated {
            Some((length, before)) if length as usize == before - self.rest.len() => Ok(syntax),
            _ => Err("the description that begins its DICOM is not as long as it says".into()),
        }
    }

    /// One element, or the head of one that holds others.
    fn element(&mut self, types: Types) -> Result<(), String> {
        let tag = self.tag()?;
        if tag[..2] == ITEM[..2] {
            return self.long().and_then(|length| self.inside(length));
        }
        let (kind, length) = self.type_and_length(types)?;
        match (tag, length) {
            (PIXELS, UNDEFINED) => self.fragments(),
            (_, UNDEFINED) if kind == b"UN" => {
                Err("its DICOM has a sequence of type UN, which is not read; convert it to PNG".into())
            }
            // The items of a sequence are walked next.
            _ if length == UNDEFINED || kind == b"SQ" || kind.is_empty() && self.rest.starts_with(&ITEM) => {
                self.inside(length)
            }
            _ => self.take(length as usize).map(drop),
        }
    }

    /// What is inside is walked next; it must be there.
    fn inside(&self, length: u32) -> Result<(), String> {
        match length == UNDEFINED || length as usize <= self.rest.len() {
            true => Ok(()),
            false => Err("the DICOM ends early".into()),
        }
    }

    /// The pieces of a compressed frame, up to the mark behind them.
    fn fragments(&mut self) -> Result<(), String> {
        loop {
            let tag = self.tag()?;
            let length = self.long()?;
            self.take(length as usize)?;
            if tag != ITEM {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dicom::tests::file;
    use super::*;

    fn with(elements: &[&[u8]], syntax: &str) -> Vec<u8> {
        let mut bytes = file("MONOCHROME2", 2, false, ["1", "0"], &[0; 4]);
        let at = bytes.windows(20).position(|part| part == b"1.2.840.10008.1.2.1\0").expect("the syntax");
        let mut name = syntax.as_bytes().to_vec();
        name.resize(20, 0);
        bytes[at..at + 20].copy_from_slice(&name);
        bytes.truncate(at + 20);
        elements.iter().for_each(|element| bytes.extend_from_slice(element));
        bytes
    }

    const EXPLICIT: &str = "1.2.840.10008.1.2.1";
    const IMPLICIT: &str = "1.2.840.10008.1.2";
    /// An item of four bytes, an empty one of no stated length with its end, and the end of a sequence.
    const ITEM_OF_4: &[u8] = &[0xfe, 0xff, 0, 0xe0, 4, 0, 0, 0];
    const OPEN_ITEM: &[u8] = &[0xfe, 0xff, 0, 0xe0, 255, 255, 255, 255, 0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0];
    const END: &[u8] = &[0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];

    #[test]
    fn sequences_items_and_fragments_that_lie_in_the_file_pass() {
        let short: &[u8] = &[8, 0, 0x60, 0, b'C', b'S', 2, 0, b'C', b'T'];
        let sequence: &[u8] = &[8, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 255, 255, 255, 255];
        let pixels: &[u8] = &[0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 255, 255, 255, 255];
        check(&with(&[short, sequence, OPEN_ITEM, END, pixels, ITEM_OF_4, b"abcd", END], EXPLICIT)).unwrap();
        let implied: &[u8] = &[8, 0, 0x60, 0, 2, 0, 0, 0, b'C', b'T'];
        let sequence: &[u8] = &[8, 0, 0x40, 0x11, 16, 0, 0, 0];
        check(&with(&[implied, sequence, OPEN_ITEM, implied], IMPLICIT)).unwrap();
    }

    #[test]
    fn a_length_beyond_the_file_is_refused_wherever_it_stands() {
        let long: &[u8] = &[8, 0, 0x60, 0, b'U', b'T', 0, 0, 0, 0, 0, 0x7f];
        let inner: &[u8] = &[8, 0, 0x60, 0, 0, 0, 0, 0x7f, b'C', b'T'];
        let sequence: &[u8] = &[8, 0, 0x40, 0x11, 18, 0, 0, 0];
        let pixels: &[u8] = &[0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 255, 255, 255, 255];
        let item: &[u8] = &[0xfe, 0xff, 0, 0xe0, 10, 0, 0, 0];
        for (elements, syntax) in [
            (vec![long], EXPLICIT),
            (vec![inner], IMPLICIT),
            (vec![sequence, item, inner], IMPLICIT),
            (vec![pixels, ITEM_OF_4, b"abc"], EXPLICIT),
            (vec![&[8, 0][..]], EXPLICIT),
        ] {
            assert_eq!(check(&with(&elements, syntax)).unwrap_err(), "the DICOM ends early");
        }
        let unknown: &[u8] = &[8, 0, 0x60, 0, b'Z', b'Z', 2, 0, b'C', b'T'];
        assert!(check(&with(&[unknown], EXPLICIT)).unwrap_err().contains("does not exist"));
    }

    #[test]
    fn other_ways_to_write_a_file_are_named() {
        for syntax in ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.", "", "1.2.3"] {
            let why = check(&with(&[], syntax)).unwrap_err();
            assert!(why.contains(syntax) && why.contains("convert it to PNG"), "{why}");
        }
        let mut longer = with(&[], IMPLICIT);
        longer[140] += 2;
        assert!(check(&longer).unwrap_err().contains("not as long as it says"));
        check(b"").unwrap_err();
    }
}
