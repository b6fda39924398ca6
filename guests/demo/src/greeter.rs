//! The demo's service of gRPC: proto/greeter.proto.

use std::pin::Pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use roadrunner_guest::{IntoResponse, Request, Response, bus, grpc};
use tonic::{Status, Streaming};

use self::demo::greeter_server::{Greeter, GreeterServer};
use self::demo::{ChatMessage, CountReply, CountRequest, HelloReply, HelloRequest};

/// The code of greeter.proto.
#[allow(unused_qualifications, reason = "it is made for every program")]
mod demo {
    roadrunner_guest::include_proto!("demo.v1");
}

/// The topic of the chat.
const TOPIC: &str = "chat";

/// Answers a call.
pub(crate) fn answer(request: Request) -> Response {
    grpc::Router::new(request).add_service(GreeterServer::new(Demo)).into_response()
}

struct Demo;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Greeter for Demo {
    type ChatStream = Replies<ChatMessage>;
    type CountStream = Replies<CountReply>;

    async fn say_hello(&self, request: tonic::Request<HelloRequest>) -> Result<tonic::Response<HelloReply>, Status> {
        let message = format!("Hello, {}!", request.into_inner().name);
        Ok(tonic::Response::new(HelloReply { message }))
    }

    async fn count(
        &self,
        request: tonic::Request<CountRequest>,
    ) -> Result<tonic::Response<Replies<CountReply>>, Status> {
        let CountRequest { to, pause } = request.into_inner();
        let replies = stream::iter(1..=to).then(move |number| async move {
            if pause > 0 && number > 1 {
                grpc::sleep(Duration::from_millis(pause.into())).await;
            }
            Ok::<_, Status>(CountReply { number })
        });
        Ok(tonic::Response::new(Box::pin(replies)))
    }

    /// Waits for messages of its client and of the others at once. The client's end is the end.
    async fn chat(
        &self,
        request: tonic::Request<Streaming<ChatMessage>>,
    ) -> Result<tonic::Response<Replies<ChatMessage>>, Status> {
        let heard = grpc::subscribe(TOPIC).map_err(|error| Status::unavailable(error.to_string()))?;
        let state = (request.into_inner(), heard);
        let replies = stream::unfold(state, |(mut said, mut heard)| async move {
            loop {
                let reply = match select(said.next(), heard.next()).await {
                    Either::Left((message, _)) => publish(message?),
                    Either::Right((message, _)) => Some(decoded(&message?.payload)),
                };
                if let Some(reply) = reply {
                    return Some((reply, (said, heard)));
                }
            }
        });
        Ok(tonic::Response::new(Box::pin(replies)))
    }
}

/// Sends a message to all who have joined. Returns the fault, if there is one.
fn publish(message: Result<ChatMessage, Status>) -> Option<Result<ChatMessage, Status>> {
    let message = match message {
        Ok(message) => message,
        Err(status) => return Some(Err(status)),
    };
    let published = bus::publish(TOPIC, message.encode_to_vec());
    published.err().map(|error| Err(Status::unavailable(error.to_string())))
}

fn decoded(payload: &[u8]) -> Result<ChatMessage, Status> {
    ChatMessage::decode(payload).map_err(|error| Status::internal(error.to_string()))
}
