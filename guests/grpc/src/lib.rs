//! A service of gRPC with a method for each kind of call, and one for faults: proto/interop.proto.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use roadrunner_guest::{IntoResponse, Request, grpc, handler};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Response, Status, Streaming};

use self::interop::test_server::{Test, TestServer};
use self::interop::trouble::Kind;
use self::interop::{Answer, Ask, Nothing, Plan, Sum, Trouble};

/// The code of interop.proto.
#[allow(unused_qualifications, reason = "it is made for every program")]
mod interop {
    roadrunner_guest::include_proto!("interop.v1");
}

#[handler]
fn serve(request: Request) -> impl IntoResponse {
    let service = TestServer::new(Interop)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    grpc::Router::new(request).add_service(service)
}

struct Interop;

type Answers = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

#[tonic::async_trait]
impl Test for Interop {
    type EchoStream = Answers;
    type FailStream = Answers;
    type StreamStream = Answers;

    async fn empty(&self, _: tonic::Request<Nothing>) -> Result<Response<Nothing>, Status> {
        Ok(Response::new(Nothing {}))
    }

    async fn unary(&self, request: tonic::Request<Ask>) -> Result<Response<Answer>, Status> {
        let echoed = request.metadata().get("x-echo").cloned();
        let mut response = Response::new(answer(&request.into_inner()).await?);
        if let Some(value) = echoed {
            response.metadata_mut().insert("x-echo", value);
        }
        Ok(response)
    }

    async fn collect(&self, request: tonic::Request<Streaming<Ask>>) -> Result<Response<Sum>, Status> {
        let (mut asks, mut sum) = (request.into_inner(), Sum::default());
        while let Some(ask) = asks.message().await? {
            sum.bytes += ask.payload.len() as u64;
            sum.messages += 1;
        }
        Ok(Response::new(sum))
    }

    async fn stream(&self, request: tonic::Request<Plan>) -> Result<Response<Answers>, Status> {
        let Plan { count, size, delay_ms } = request.into_inner();
        let answers = stream::iter(0..count).then(move |_| async move {
            pause(delay_ms).await;
            Ok::<_, Status>(sized(size))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn echo(&self, request: tonic::Request<Streaming<Ask>>) -> Result<Response<Answers>, Status> {
        let answers = request.into_inner().then(|ask| async move { answer(&ask?).await });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fail(&self, request: tonic::Request<Trouble>) -> Result<Response<Answers>, Status> {
        let trouble = request.into_inner();
        let answers = stream::iter(0..=trouble.after).then(move |number| async move {
            if number == trouble.after {
                // What came before is sent first.
                pause(1).await;
                fail(trouble.kind()).await;
            }
            Ok::<_, Status>(sized(1))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn missing(&self, _: tonic::Request<Nothing>) -> Result<Response<Nothing>, Status> {
        Err(Status::unimplemented("this method is missing"))
    }
}

async fn answer(ask: &Ask) -> Result<Answer, Status> {
    pause(ask.delay_ms).await;
    match Code::from(ask.code) {
        Code::Ok => Ok(sized(ask.size)),
        code => Err(Status::new(code, ask.message.clone())),
    }
}

fn sized(size: u32) -> Answer {
    Answer { payload: vec![0; size as usize] }
}

async fn pause(milliseconds: u32) {
    if milliseconds > 0 {
        grpc::sleep(Duration::from_millis(milliseconds.into())).await;
    }
}

async fn fail(kind: Kind) {
    match kind {
        Kind::Trap => panic!("as asked"),
        Kind::Spin => loop {
            std::hint::spin_loop();
        },
        Kind::Memory => drop(std::hint::black_box(vec![1_u8; 1 << 30])),
        Kind::Sleep => grpc::sleep(Duration::from_secs(600)).await,
    }
}
