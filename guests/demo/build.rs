//! Makes the code of greeter.proto.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    roadrunner_guest_build::grpc(&["greeter.proto"], &["proto"])
}
