//! How people write the ten digits: for each, several pen paths through hand-placed knots.
//!
//! Coordinates run right and down; a digit is about 1 high and 0.7 wide. A pen moves smoothly through its knots and turns
//! sharply at a corner. The renderer jitters every knot, so these are what a class has in common, not what it looks like.

/// A point that the pen passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knot {
    pub x: f32,
    pub y: f32,
    /// Whether the pen turns sharply here.
    pub corner: bool,
}

/// The path of a pen from where it is put down to where it is lifted.
pub(super) type Path = &'static [Knot];

/// One way to write a digit.
pub(super) type Glyph = &'static [Path];

/// The ways to write `digit`, each as likely as the others.
pub(super) fn ways(digit: usize) -> &'static [Glyph] {
    DIGITS[digit % 10]
}

/// A knot that the pen passes smoothly.
const fn s(x: f32, y: f32) -> Knot {
    Knot { x, y, corner: false }
}

/// A knot where the pen turns sharply.
const fn c(x: f32, y: f32) -> Knot {
    Knot { x, y, corner: true }
}

const DIGITS: [&[Glyph]; 10] = [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

const ZERO: &[Glyph] = &[
    // A round oval, begun at the top.
    &[&[
        s(0.55, 0.02),
        s(0.27, 0.13),
        s(0.13, 0.48),
        s(0.24, 0.86),
        s(0.50, 0.98),
        s(0.76, 0.85),
        s(0.87, 0.48),
        s(0.73, 0.12),
        s(0.48, 0.03),
    ]],
    // A narrow oval whose ends cross.
    &[&[
        s(0.66, 0.12),
        s(0.47, 0.02),
        s(0.28, 0.22),
        s(0.22, 0.58),
        s(0.32, 0.92),
        s(0.54, 0.97),
        s(0.71, 0.74),
        s(0.75, 0.38),
        s(0.62, 0.08),
        s(0.44, 0.06),
    ]],
];

const ONE: &[Glyph] = &[
    // One slash.
    &[&[s(0.53, 0.00), s(0.51, 0.50), s(0.49, 1.00)]],
    &[&[s(0.50, 0.00), s(0.52, 0.50), s(0.50, 1.00)]],
    // With a flag.
    &[&[s(0.28, 0.26), s(0.42, 0.16), c(0.56, 0.00), s(0.54, 0.50), s(0.53, 1.00)]],
    // With a flag and a foot.
    &[&[s(0.32, 0.22), c(0.53, 0.02), s(0.52, 0.50), s(0.51, 0.98)], &[s(0.26, 0.98), s(0.52, 0.97), s(0.78, 0.98)]],
];

const TWO: &[Glyph] = &[
    // A swan with a sharp heel.
    &[&[
        s(0.18, 0.24),
        s(0.30, 0.07),
        s(0.55, 0.02),
        s(0.75, 0.18),
        s(0.68, 0.45),
        s(0.44, 0.72),
        c(0.14, 0.95),
        s(0.48, 0.93),
        s(0.86, 0.94),
    ]],
    // A swan with a loop at its heel.
    &[&[
        s(0.20, 0.20),
        s(0.38, 0.03),
        s(0.63, 0.06),
        s(0.72, 0.28),
        s(0.60, 0.55),
        s(0.38, 0.82),
        s(0.18, 0.95),
        s(0.12, 0.84),
        s(0.26, 0.77),
        s(0.50, 0.88),
        s(0.68, 0.97),
        s(0.90, 0.88),
    ]],
    // A wide arch and a short foot.
    &[&[
        s(0.16, 0.33),
        s(0.24, 0.10),
        s(0.52, 0.00),
        s(0.78, 0.14),
        s(0.78, 0.40),
        s(0.55, 0.68),
        c(0.20, 0.97),
        s(0.45, 0.96),
        s(0.76, 0.99),
    ]],
];

const THREE: &[Glyph] = &[
    // Two bows that meet in a sharp waist.
    &[&[
        s(0.20, 0.14),
        s(0.44, 0.01),
        s(0.70, 0.14),
        s(0.65, 0.36),
        c(0.38, 0.47),
        s(0.68, 0.54),
        s(0.80, 0.75),
        s(0.54, 0.97),
        s(0.18, 0.89),
    ]],
    // Two bows with a small loop for a waist.
    &[&[
        s(0.24, 0.10),
        s(0.50, 0.01),
        s(0.72, 0.15),
        s(0.62, 0.38),
        s(0.42, 0.48),
        s(0.40, 0.42),
        s(0.60, 0.48),
        s(0.76, 0.70),
        s(0.62, 0.94),
        s(0.36, 0.98),
        s(0.16, 0.84),
    ]],
    // A flat top.
    &[&[
        s(0.20, 0.05),
        s(0.48, 0.04),
        c(0.76, 0.03),
        s(0.62, 0.22),
        c(0.44, 0.40),
        s(0.70, 0.50),
        s(0.79, 0.74),
        s(0.55, 0.97),
        s(0.19, 0.90),
    ]],
];

const FOUR: &[Glyph] = &[
    // Open, of two strokes.
    &[
        &[s(0.28, 0.04), s(0.22, 0.30), c(0.16, 0.57), s(0.50, 0.55), s(0.88, 0.51)],
        &[s(0.70, 0.06), s(0.66, 0.50), s(0.62, 1.00)],
    ],
    // Closed, of one angular stroke and a stem.
    &[
        &[s(0.62, 0.02), s(0.38, 0.32), c(0.10, 0.66), s(0.50, 0.65), s(0.90, 0.63)],
        &[s(0.63, 0.02), s(0.62, 0.50), s(0.60, 1.00)],
    ],
    // A cup and a stem.
    &[
        &[s(0.22, 0.06), s(0.17, 0.34), s(0.32, 0.53), s(0.58, 0.48), s(0.76, 0.34)],
        &[s(0.80, 0.04), s(0.74, 0.50), s(0.66, 1.00)],
    ],
    // One stroke: the stem drops from the end of the cup.
    &[&[s(0.30, 0.02), s(0.16, 0.32), s(0.24, 0.52), s(0.52, 0.50), c(0.74, 0.10), s(0.72, 0.52), s(0.66, 1.00)]],
];

const FIVE: &[Glyph] = &[
    // One stroke from the top right.
    &[&[
        s(0.82, 0.03),
        s(0.58, 0.04),
        c(0.30, 0.06),
        c(0.24, 0.44),
        s(0.48, 0.38),
        s(0.74, 0.52),
        s(0.74, 0.80),
        s(0.48, 0.97),
        s(0.16, 0.88),
    ]],
    // A body and a separate hat.
    &[
        &[
            s(0.32, 0.08),
            s(0.28, 0.26),
            c(0.22, 0.46),
            s(0.48, 0.42),
            s(0.73, 0.58),
            s(0.68, 0.85),
            s(0.44, 0.98),
            s(0.14, 0.90),
        ],
        &[s(0.31, 0.07), s(0.54, 0.06), s(0.84, 0.02)],
    ],
    // Round, like an S.
    &[&[
        s(0.80, 0.04),
        s(0.50, 0.03),
        s(0.30, 0.14),
        s(0.28, 0.36),
        s(0.52, 0.47),
        s(0.71, 0.62),
        s(0.66, 0.87),
        s(0.42, 0.98),
        s(0.15, 0.90),
    ]],
];

const SIX: &[Glyph] = &[
    // A curved stem into a round bowl.
    &[&[
        s(0.72, 0.02),
        s(0.42, 0.20),
        s(0.22, 0.52),
        s(0.23, 0.84),
        s(0.48, 0.98),
        s(0.75, 0.86),
        s(0.76, 0.62),
        s(0.54, 0.50),
        s(0.26, 0.68),
    ]],
    // A straight stem and a small bowl.
    &[&[
        s(0.50, 0.00),
        s(0.36, 0.30),
        s(0.26, 0.62),
        s(0.30, 0.90),
        s(0.52, 0.98),
        s(0.70, 0.84),
        s(0.66, 0.66),
        s(0.46, 0.64),
        s(0.30, 0.82),
    ]],
    // A hooked stem and a bowl that closes on itself.
    &[&[
        s(0.76, 0.14),
        s(0.58, 0.02),
        s(0.34, 0.20),
        s(0.20, 0.56),
        s(0.28, 0.88),
        s(0.54, 0.98),
        s(0.78, 0.78),
        s(0.64, 0.54),
        s(0.38, 0.56),
        s(0.24, 0.74),
    ]],
];

const SEVEN: &[Glyph] = &[
    // Plain.
    &[&[s(0.14, 0.07), s(0.48, 0.06), c(0.82, 0.04), s(0.62, 0.48), s(0.44, 1.00)]],
    // With a bowed stem.
    &[&[s(0.16, 0.10), s(0.46, 0.05), c(0.80, 0.06), s(0.56, 0.40), s(0.46, 0.70), s(0.44, 1.00)]],
    // With a bar.
    &[
        &[s(0.16, 0.06), s(0.50, 0.06), c(0.84, 0.04), s(0.62, 0.50), s(0.42, 1.00)],
        &[s(0.34, 0.53), s(0.56, 0.51), s(0.80, 0.50)],
    ],
    // With a hook on the left.
    &[&[s(0.15, 0.24), c(0.18, 0.06), s(0.50, 0.07), c(0.84, 0.05), s(0.64, 0.50), s(0.50, 1.00)]],
];

const EIGHT: &[Glyph] = &[
    // One stroke, begun at the top right.
    &[&[
        s(0.72, 0.13),
        s(0.50, 0.01),
        s(0.28, 0.16),
        s(0.40, 0.42),
        s(0.66, 0.58),
        s(0.74, 0.82),
        s(0.50, 0.98),
        s(0.25, 0.83),
        s(0.34, 0.60),
        s(0.58, 0.42),
        s(0.74, 0.22),
        s(0.66, 0.06),
    ]],
    // Two ovals, one on the other.
    &[
        &[s(0.50, 0.46), s(0.30, 0.30), s(0.36, 0.07), s(0.56, 0.01), s(0.72, 0.18), s(0.66, 0.38), s(0.48, 0.47)],
        &[s(0.50, 0.46), s(0.24, 0.62), s(0.25, 0.87), s(0.50, 0.99), s(0.75, 0.86), s(0.74, 0.60), s(0.48, 0.46)],
    ],
    // One stroke, begun in the middle.
    &[&[
        s(0.56, 0.46),
        s(0.32, 0.30),
        s(0.38, 0.06),
        s(0.64, 0.06),
        s(0.68, 0.30),
        s(0.42, 0.54),
        s(0.24, 0.80),
        s(0.44, 0.98),
        s(0.70, 0.86),
        s(0.66, 0.58),
        s(0.44, 0.40),
    ]],
];

const NINE: &[Glyph] = &[
    // A loop and a straight stem.
    &[&[
        s(0.74, 0.16),
        s(0.52, 0.02),
        s(0.26, 0.18),
        s(0.28, 0.42),
        s(0.52, 0.46),
        c(0.74, 0.18),
        s(0.72, 0.56),
        s(0.66, 1.00),
    ]],
    // A loop and a hooked tail.
    &[&[
        s(0.72, 0.14),
        s(0.48, 0.02),
        s(0.25, 0.22),
        s(0.34, 0.45),
        s(0.60, 0.40),
        c(0.74, 0.14),
        s(0.78, 0.52),
        s(0.66, 0.88),
        s(0.42, 0.98),
        s(0.22, 0.88),
    ]],
    // A slanted, flowing one.
    &[&[
        s(0.78, 0.10),
        s(0.54, 0.00),
        s(0.28, 0.16),
        s(0.24, 0.36),
        s(0.44, 0.44),
        s(0.68, 0.26),
        s(0.76, 0.08),
        s(0.68, 0.48),
        s(0.48, 1.00),
    ]],
];
