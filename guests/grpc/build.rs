//! Makes the code of interop.proto.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    roadrunner_guest_build::grpc(&["interop.proto"], &["proto"])
}
