//! Figures for people: bytes, seconds, and numbers of a few digits.

/// Bytes in the unit that suits them: 12,345,678 is 12.3 MB.
pub fn bytes(count: f64) -> String {
    match count {
        x if x >= 1e9 => format!("{:.1} GB", x / 1e9),
        x if x >= 1e6 => format!("{:.1} MB", x / 1e6),
        x if x >= 1e3 => format!("{:.1} KB", x / 1e3),
        x => format!("{x:.0} bytes"),
    }
}

/// Seconds that have passed, to the second: 125 are 2 min 5 s.
pub fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..=119 => format!("{seconds:.1} s"),
        120..=7199 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Seconds that something may take, no finer than is known: 250 are 4 min.
pub fn estimate(seconds: f64) -> String {
    match seconds {
        x if x < 90.0 => format!("{:.0} s", x.max(1.0)),
        x if x < 5400.0 => format!("{:.0} min", x / 60.0),
        x => format!("{:.0} h {:.0} min", (x / 3600.0).floor(), (x % 3600.0 / 60.0).floor()),
    }
}

/// Four significant digits at most, without a tail of zeros.
pub fn figure(x: f64) -> String {
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-3..1e5).contains(&magnitude) {
        return format!("{x:.1e}");
    }
    let whole_digits = if magnitude < 1.0 { 0 } else { libm::log10(magnitude) as usize + 1 };
    let text = format!("{x:.*}", if magnitude < 1.0 { 4 } else { 4usize.saturating_sub(whole_digits) });
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_seconds_have_the_unit_that_suits_them() {
        let counts = [0.0, 999.0, 1234.0, 2_500_000.0, 5e9];
        assert_eq!(counts.map(bytes), ["0 bytes", "999 bytes", "1.2 KB", "2.5 MB", "5.0 GB"]);
        assert_eq!([1.5, 125.0, 7260.0].map(duration), ["1.5 s", "2 min 5 s", "2 h 1 min"]);
        assert_eq!([0.2, 40.4, 250.0, 7260.0].map(estimate), ["1 s", "40 s", "4 min", "2 h 1 min"]);
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.25, 1.0, 12.5, 1234.0, 0.000_02, 250_000.0, 40.6802, -0.012_34];
        let short = ["0", "0.25", "1", "12.5", "1234", "2.0e-5", "2.5e5", "40.68", "-0.0123"];
        assert_eq!(numbers.map(figure), short);
    }
}
