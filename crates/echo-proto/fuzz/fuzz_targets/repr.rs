//! Any bytes: their `repr` is printable ASCII, and parsing it by Python's rules returns the bytes.
#![no_main]

use echo_proto::repr;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let shown = repr(bytes).to_string();
    assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    assert_eq!(read(shown.as_bytes()), bytes);
});

/// Parses a bytes literal as Python's tokenizer does.
fn read(shown: &[u8]) -> Vec<u8> {
    let [b'b', quote, inner @ .., end] = shown else { panic!("no literal") };
    assert!(quote == end && matches!(quote, b'\'' | b'"'));
    let mut bytes = Vec::new();
    let mut rest = inner.iter();
    while let Some(&byte) = rest.next() {
        assert_ne!(byte, *quote, "a quote inside ends the literal");
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(*rest.next().expect("an escape is complete"));
        bytes.push(match digit() {
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'x' => {
                let digits = [digit(), digit()].map(|digit| digit.to_digit(16).expect("it is hex"));
                (digits[0] * 16 + digits[1]) as u8
            }
            literal => literal as u8,
        });
    }
    bytes
}
