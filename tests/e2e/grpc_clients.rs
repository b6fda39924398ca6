//! grpcio against a running server: the implementation of gRPC that most languages have.

use roadrunner_tests::command::{self, python};
use roadrunner_tests::server::component;
use roadrunner_tests::{Server, Setup};

async fn start() -> Server {
    Setup::with(&(component("grpc") + &component("demo")))
        .and("[grpc]\nhealth = true\nreflection = true")
        .and("[[route]]\npath = \"/interop.v1.Test/:method\"\ncomponent = \"grpc\"\ngrpc = true")
        .and("[[route]]\npath = \"/demo.v1.Greeter/:method\"\ncomponent = \"demo\"\ngrpc = true")
        .start()
        .await
}

#[tokio::test]
async fn grpcio_is_served_with_and_without_tls() {
    let server = start().await;
    for listener in ["plain", "tls"] {
        let packages = "grpc, grpc_tools, grpc_health.v1, grpc_reflection.v1alpha";
        let Some(mut command) = python("grpc_clients::grpcio", packages) else { return };
        let guests = command::workspace().join("guests");
        command.arg("-B").arg(command::workspace().join("tests/e2e/grpc_clients.py"));
        command.arg(format!("localhost:{}", server.address(listener).port()));
        command.arg(guests.join("grpc/proto")).arg(guests.join("demo/proto"));
        if listener == "tls" {
            command.arg(server.certificate());
        }
        let done = command::output(command).await;
        assert_eq!(done.code, 0, "{listener}: {}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("all is well"), "{listener}: {}", done.stdout);
        server.is_quiet().await;
    }
}
