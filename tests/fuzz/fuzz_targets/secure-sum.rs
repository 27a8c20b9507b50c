#![no_main]

e2e_fuzz::decoders!("secure-sum");
