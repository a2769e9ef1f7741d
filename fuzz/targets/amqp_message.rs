#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| splashdam_fuzz::amqp::message(input));
