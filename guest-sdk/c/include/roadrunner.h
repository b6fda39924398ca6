/*
 * roadrunner.h: Roadrunner guests in C11.
 *
 * A program defines rr_handle(). It is called for each request, each in an instance of its own: globals last for one
 * request or one held session, and a crash ends nothing else. What rr_handle() returns says how the response goes on:
 * buffered, from a file, as a stream, as an event loop, as a WebSocket or as a WebTransport session; all but the first two
 * have callbacks.
 *
 * Memory, in three rules:
 *   1. Everything that this library returns, and everything from rr_alloc() and rr_format(), is freed when the call from
 *      the host is over: when rr_handle() or the callback returns. Never free() it.
 *   2. What a later callback needs goes into memory from rr_keep() or rr_keep_bytes(). It is freed with the response.
 *      The `state` that callbacks get is usually such memory.
 *   3. malloc() and free() are there as everywhere, and are the program's own business.
 * When memory ends, the instance ends: no function here returns NULL for want of it.
 *
 * Bytes have a length and may hold any value. Those that this library returns are followed by a zero byte that is not
 * counted, so that text can be used as a C string. Where nothing is there, `data` is NULL.
 */
#ifndef ROADRUNNER_H
#define ROADRUNNER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Bytes and memory ---- */

/* Bytes with their length. `data` is NULL where there is nothing. */
typedef struct rr_bytes {
    const char *data;
    size_t length;
} rr_bytes;

/* For printf: printf("%.*s", RR_PRINT(bytes)). */
#define RR_PRINT(bytes) (int)(bytes).length, (bytes).data

/* A C string as bytes, without copying it. */
rr_bytes rr_string(const char *text);

/* Whether the bytes are this text; nothing is equal to no text. */
bool rr_equal(rr_bytes bytes, const char *text);

/* The bytes behind this prefix; nothing if they do not begin with it. */
rr_bytes rr_after(rr_bytes bytes, const char *prefix);

/* Zeroed memory until the call from the host is over. */
void *rr_alloc(size_t size);

/* As printf, into memory until the call from the host is over. */
rr_bytes rr_format(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

/* Zeroed memory until the response is over. */
void *rr_keep(size_t size);

/* A copy until the response is over. */
rr_bytes rr_keep_bytes(rr_bytes bytes);

/* A place in the memory of the call. */
typedef struct rr_mark {
    void *block;
    size_t used;
} rr_mark;

/* The place up to which memory of the call is in use. */
rr_mark rr_memory(void);

/* Frees what was returned and allocated since rr_memory(), for callbacks that run long: a stream of many chunks. */
void rr_release(rr_mark mark);

/* ---- Errors ---- */

/* How an operation of the host ended. */
typedef enum rr_status {
    /* Done. */
    RR_OK = 0,
    /* The other side is gone, or this side has already finished. */
    RR_CLOSED,
    /* A deadline of the host passed. */
    RR_TIMEOUT,
    /* A limit, in bytes, would have been exceeded. */
    RR_TOO_LARGE,
    /* The host's policy does not allow it; rr_error() names the rule. */
    RR_REFUSED,
    /* A fault that is not the guest's, or one that the guest reports. */
    RR_INTERNAL,
} rr_status;

/* The last error of this call from the host, in words; empty without one. */
rr_bytes rr_error(void);

/* The limit that was passed, in bytes, where the last error is RR_TOO_LARGE; otherwise 0. */
uint64_t rr_error_limit(void);

/* Ends the instance with a line in the log. The client gets 500, or a body that is visibly cut. */
_Noreturn void rr_fail(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

/* ---- Requests ---- */

/* A request. It is there until rr_handle() returns. Nothing of it is copied before it is asked for. */
typedef struct rr_request rr_request;

/* A header or trailer field. Names are in lower case where a guest receives them. */
typedef struct rr_field {
    rr_bytes name;
    rr_bytes value;
} rr_field;

/* Fields, or other pairs, in order. */
typedef struct rr_fields {
    const rr_field *items;
    size_t length;
} rr_fields;

/* Several values. */
typedef struct rr_list {
    const rr_bytes *items;
    size_t length;
} rr_list;

/* The HTTP version that the client spoke. */
typedef enum rr_version { RR_HTTP10, RR_HTTP11, RR_HTTP2, RR_HTTP3 } rr_version;

/* What a client's TLS certificate says; the host has verified it. */
typedef struct rr_certificate {
    /* The subject's distinguished name (RFC 4514): CN=alice,O=Example. */
    rr_bytes subject;
    /* The issuer's distinguished name. */
    rr_bytes issuer;
    /* The serial number, in lower-case hexadecimal. */
    rr_bytes serial;
    /* The subject's alternative names. */
    rr_list names;
    /* SHA-256 of the certificate, in lower-case hexadecimal. */
    rr_bytes sha256;
} rr_certificate;

/* The id that also stands in the access log. */
rr_bytes rr_request_id(const rr_request *request);
/* The method, in the client's case: GET. */
rr_bytes rr_request_method(const rr_request *request);
/* http or https. */
rr_bytes rr_request_scheme(const rr_request *request);
/* The host, and the port when one was given. */
rr_bytes rr_request_authority(const rr_request *request);
/* The path as it was sent, still percent-encoded, without the query. */
rr_bytes rr_request_path(const rr_request *request);
/* What follows the `?`, still percent-encoded; nothing without a `?`. */
rr_bytes rr_request_query(const rr_request *request);
/* The first value of this name in the query, decoded; nothing without one. */
rr_bytes rr_request_query_value(const rr_request *request, const char *name);
/* The HTTP version. */
rr_version rr_request_version(const rr_request *request);
/* The client's address with its port; the port is 0 where a proxy does not tell it, clients on a Unix socket are
 * `local`. */
rr_bytes rr_request_peer(const rr_request *request);
/* What the route's pattern captured under this name, percent-decoded. */
rr_bytes rr_request_param(const rr_request *request, const char *name);
/* All captures of the route's pattern. */
rr_fields rr_request_params(const rr_request *request);
/* The name of the route that matched, if the manifest gave it one. */
rr_bytes rr_request_route(const rr_request *request);
/* The first value of a header. The case of the name does not matter. */
rr_bytes rr_request_header(const rr_request *request, const char *name);
/* Every value of a header, in order. */
rr_list rr_request_header_values(const rr_request *request, const char *name);
/* Every header field, in order. */
rr_fields rr_request_headers(const rr_request *request);
/* The client's certificate; false without one. */
bool rr_request_certificate(const rr_request *request, rr_certificate *certificate);
/* Whether it is a WebSocket handshake, and the subprotocols that the client offers (may be NULL). */
bool rr_request_websocket(const rr_request *request, rr_list *subprotocols);
/* Whether it asks for a WebTransport session. */
bool rr_request_webtransport(const rr_request *request);

/* The body of a request. It is there until the response is over, also for callbacks. */
typedef struct rr_body rr_body;

/* The body. It is given out once: NULL without a body, and from the second call on. Functions take NULL for an empty
 * one. */
rr_body *rr_request_body(rr_request *request);

/* Reads at most `size` bytes into the caller's buffer, as many as are there; *length is 0 at the end. Waits for the
 * client where the route's body mode is `manual`. */
rr_status rr_body_read(rr_body *body, void *buffer, size_t size, size_t *length);
/* All that is left. */
rr_status rr_body_read_all(rr_body *body, rr_bytes *bytes);
/* The trailer fields that followed the body; what is left of it is dropped. */
rr_status rr_body_trailers(rr_body *body, rr_fields *trailers);

/* ---- Responses ---- */

/* A response that is being made. Every function that makes one takes a status from 200 to 599. */
typedef struct rr_response rr_response;

/* What the program defines: the answer to one request. NULL is a fault. */
rr_response *rr_handle(rr_request *request);

/* A response that is complete. The bytes have to be there until rr_handle() has returned. */
rr_response *rr_buffered(int status, rr_bytes body);

/* As rr_buffered(), made as printf does, with `content-type: text/plain; charset=utf-8`. */
rr_response *rr_text(int status, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));

/* The answer to a request whose body could not be read: 400 when it was cut short, 408, 413, or 500. */
rr_response *rr_rejected(rr_status status);

/* A file below a directory that the manifest grants under this name; the path is relative and decoded. With status 200
 * the host answers 206, 304 and 416 as the request asks. */
rr_response *rr_send_file(int status, const char *directory, rr_bytes path);

/* The part of the file to send, instead of what the client's Range says. UINT64_MAX is all that follows. */
void rr_send_file_range(rr_response *response, uint64_t start, uint64_t length);

/* Adds a header field. The value is copied. */
void rr_header(rr_response *response, const char *name, rr_bytes value);

/* Adds a trailer field to a buffered response. The value is copied. */
void rr_trailer(rr_response *response, const char *name, rr_bytes value);

/* ---- Requests to other servers ---- */

/* A request to an origin that the manifest grants (`outbound` of the component). Leave out what it need not have:
 * (rr_outgoing){.url = "https://example.com/"}. */
typedef struct rr_outgoing {
    /* NULL is GET. */
    const char *method;
    /* Of http or https. */
    const char *url;
    const rr_field *headers;
    size_t header_count;
    /* The body, or the first piece of it. */
    rr_bytes body;
    /* Milliseconds to connect, to wait for the answer and for each piece of it. 0 leaves them to the host, whose own are
     * the upper bounds. */
    uint64_t timeout;
} rr_outgoing;

/* An answer with its whole body. */
typedef struct rr_answer {
    int status;
    rr_fields headers;
    rr_bytes body;
} rr_answer;

/* Sends a request, and waits for the whole answer. RR_REFUSED where the manifest does not grant it: rr_error() names the
 * key. RR_TIMEOUT; RR_CLOSED where the answer is cut short; RR_INTERNAL for other failures of the network. */
rr_status rr_ask(const rr_outgoing *outgoing, rr_answer *answer);

/* A request under way, whose bodies are streamed. It is open until the response is over, also for callbacks. */
typedef struct rr_exchange rr_exchange;

/* Sends the head of a request, and the piece of the body that it has. Errors as those of rr_ask(). */
rr_status rr_exchange_start(const rr_outgoing *outgoing, rr_exchange **exchange);

/* Sends a piece of the body. Waits while the server does not read; RR_CLOSED when it reads no more. */
rr_status rr_exchange_write(rr_exchange *exchange, rr_bytes piece);

/* Ends the body of the request. */
rr_status rr_exchange_finish(rr_exchange *exchange);

/* Waits for the head of the answer, also while the body of the request has not ended. `headers` may be NULL. */
rr_status rr_exchange_response(rr_exchange *exchange, int *status, rr_fields *headers);

/* Reads at most `size` bytes of the answer, as many as are there; *length is 0 at the end. */
rr_status rr_exchange_read(rr_exchange *exchange, void *buffer, size_t size, size_t *length);

/* All that is left of the answer. */
rr_status rr_exchange_read_all(rr_exchange *exchange, rr_bytes *bytes);

/* Gives up the rest. */
void rr_exchange_close(rr_exchange *exchange);

/* ---- Streams ---- */

/* Writes a response body. */
typedef struct rr_writer rr_writer;

/* Writes the body of a stream. Any other result than RR_OK aborts the body, so that the client can tell. */
typedef rr_status (*rr_stream_function)(rr_writer *out, void *state);

/* A response whose body `write` writes, after the head is sent. */
rr_response *rr_stream(int status, rr_stream_function write, void *state);

/* Sends one chunk, which leaves without waiting for more. Waits while the client does not read. */
rr_status rr_write(rr_writer *out, rr_bytes chunk);

/* Adds a trailer field, sent when the body ends: of a stream, or of an event loop in the callback that stops. The
 * value is copied. */
void rr_write_trailer(rr_writer *out, const char *name, rr_bytes value);

/* Sends a server-sent event (WHATWG HTML, 9.2). Line breaks in the data become lines of it. */
rr_status rr_write_event(rr_writer *out, rr_bytes data);

/* ---- Held sessions ---- */

/* What wakes a held session. */
typedef enum rr_event_kind {
    /* A message on a subscribed topic: `message`. */
    RR_MESSAGE,
    /* A timer: `timer` is its id. */
    RR_TIMER,
    /* A piece of the request body: `body`. */
    RR_BODY,
    /* The end of the request body: `trailers`. */
    RR_BODY_END,
    /* The host is shutting down: `drain` has the milliseconds left. */
    RR_DRAIN,
    /* The last event: `disconnect` says why. Nothing can be written any more. */
    RR_DISCONNECT,
} rr_event_kind;

/* Why a session ended. */
typedef enum rr_disconnect {
    /* The client ended it in an orderly way. */
    RR_DISCONNECT_CLOSED,
    /* The client reset the stream. */
    RR_DISCONNECT_RESET,
    /* The connection was lost. */
    RR_DISCONNECT_CONNECTION_LOST,
    /* A limit of the host on idleness or duration was reached. */
    RR_DISCONNECT_TIMEOUT,
} rr_disconnect;

/* An event. */
typedef struct rr_event {
    rr_event_kind kind;
    union {
        struct {
            rr_bytes topic;
            rr_bytes payload;
            /* How many messages of this topic were lost before this one. */
            uint32_t missed;
        } message;
        uint64_t timer;
        rr_bytes body;
        rr_fields trailers;
        uint64_t drain;
        rr_disconnect disconnect;
    };
} rr_event;

/* What a callback wants to happen next. */
typedef enum rr_next {
    /* Wait for the next event. */
    RR_CONTINUE = 0,
    /* End the response, or close the WebSocket or the WebTransport session. */
    RR_STOP,
} rr_next;

/* Called for each event, one at a time. */
typedef rr_next (*rr_event_function)(const rr_event *event, rr_writer *out, void *state);

/* A response that is held open. */
rr_response *rr_event_loop(int status, rr_event_function on_event, void *state);

/* An event loop that sends server-sent events: status 200, text/event-stream, not to be cached. */
rr_response *rr_event_stream(rr_event_function on_event, void *state);

/* Makes pieces of the request body events of an event loop. They are none if the body was taken. */
void rr_body_events(rr_response *response);

/* ---- WebSockets ---- */

/* Sends on a WebSocket. */
typedef struct rr_socket rr_socket;

/* A WebSocket message: text is UTF-8. */
typedef struct rr_socket_message {
    bool is_text;
    rr_bytes bytes;
} rr_socket_message;

/* The callbacks of a WebSocket. NULL does nothing; without `on_event` a shutdown of the host closes with 1001. */
typedef struct rr_socket_functions {
    /* Once, after the handshake's answer was sent. */
    rr_next (*on_open)(rr_socket *socket, void *state);
    /* For each complete message. */
    rr_next (*on_message)(const rr_socket_message *message, rr_socket *socket, void *state);
    /* For each other event. */
    rr_next (*on_event)(const rr_event *event, rr_socket *socket, void *state);
} rr_socket_functions;

/* The acceptance of a WebSocket handshake. */
rr_response *rr_websocket(rr_socket_functions functions, void *state);

/* The chosen subprotocol: one of those offered. */
void rr_subprotocol(rr_response *response, rr_bytes subprotocol);

/* Send one message. Wait while the client does not read. */
rr_status rr_send_text(rr_socket *socket, rr_bytes text);
rr_status rr_send_binary(rr_socket *socket, rr_bytes bytes);
rr_status rr_send(rr_socket *socket, const rr_socket_message *message);

/* Starts the close handshake (RFC 6455, 7.4). Nothing can be sent after it. */
void rr_close(rr_socket *socket, uint16_t code, const char *reason);

/* ---- WebTransport ---- */

/* Acts in a WebTransport session. Streams of the client and of the guest have their ids in common. One that is unknown, or
 * over in the direction in question, is ignored, or RR_CLOSED where there is a result. */
typedef struct rr_wt_session rr_wt_session;

/* What happens in a WebTransport session. */
typedef enum rr_wt_event_kind {
    /* The client opened a stream: `stream`, `bidirectional`. */
    RR_WT_OPENED,
    /* Bytes came on a stream: `stream`, `bytes`, at most 64 KiB. */
    RR_WT_DATA,
    /* The client has sent all of a stream: `stream`. */
    RR_WT_FINISHED,
    /* The client gave up sending on a stream: `stream`, `code`. */
    RR_WT_RESET,
    /* The client wants no more of a stream: `stream`, `code`. */
    RR_WT_STOPPED,
    /* A datagram came: `bytes`. */
    RR_WT_DATAGRAM,
    /* The client asks to finish soon. */
    RR_WT_DRAINING,
    /* The client closed the session: `code`, and its reason as `bytes`. RR_DISCONNECT follows. */
    RR_WT_CLOSED,
} rr_wt_event_kind;

/* Such an event; what its kind does not name is zero. */
typedef struct rr_wt_event {
    rr_wt_event_kind kind;
    uint64_t stream;
    bool bidirectional;
    uint32_t code;
    rr_bytes bytes;
} rr_wt_event;

/* The callbacks of a WebTransport session. NULL does nothing; without `on_event` a shutdown of the host closes with
 * 1001. */
typedef struct rr_wt_functions {
    /* Once, after the handshake's answer was sent. */
    rr_next (*on_open)(rr_wt_session *session, void *state);
    /* For each thing that happens in the session, in the order of each stream. */
    rr_next (*on_session_event)(const rr_wt_event *event, rr_wt_session *session, void *state);
    /* For each other event. */
    rr_next (*on_event)(const rr_event *event, rr_wt_session *session, void *state);
} rr_wt_functions;

/* The acceptance of a WebTransport session. */
rr_response *rr_webtransport(rr_wt_functions functions, void *state);

/* Open a stream that goes both ways, or to the client. Wait while the client allows no more; RR_REFUSED over the host's
 * limit. */
rr_status rr_wt_open_bidirectional(rr_wt_session *session, uint64_t *stream);
rr_status rr_wt_open_unidirectional(rr_wt_session *session, uint64_t *stream);
/* Sends bytes on a stream. Waits while the client does not read. */
rr_status rr_wt_send(rr_wt_session *session, uint64_t stream, rr_bytes bytes);
/* All of a stream was sent. */
void rr_wt_finish(rr_wt_session *session, uint64_t stream);
/* Gives up sending on a stream; what was sent may not arrive. */
void rr_wt_reset(rr_wt_session *session, uint64_t stream, uint32_t code);
/* Asks the client to send no more on a stream, of which nothing is heard any more. */
void rr_wt_stop(rr_wt_session *session, uint64_t stream, uint32_t code);
/* Sends a datagram, which may be lost. Never waits. RR_TOO_LARGE where the path takes less, RR_REFUSED where the client
 * takes none. */
rr_status rr_wt_send_datagram(rr_wt_session *session, rr_bytes bytes);
/* Closes the session and all of its streams. Of the reason, at most 1024 bytes are sent. */
void rr_wt_close(rr_wt_session *session, uint32_t code, const char *reason);

/* ---- Hibernation ---- */

/* What is left of a session: bytes from which rr_resume() makes it again. Nothing keeps the instance. */
typedef rr_bytes (*rr_suspend_function)(void *state);

/* Lets the host drop the instance of an event loop, a WebSocket or a WebTransport session that goes without an event for
 * as long as the limit `hibernate` of the manifest says. The client's connection, the streams of a WebTransport session
 * with their ids, the subscriptions and the timers live on; globals and all memory of the instance do not. */
void rr_hibernate(rr_response *response, rr_suspend_function suspend);

/* What a program with such sessions defines, too: the session from what its rr_suspend_function returned, in the fresh
 * instance that the next event goes to. The response is made as rr_handle() did, of the same kind; what it says of status
 * and fields is not sent again. NULL is a fault. */
rr_response *rr_resume(rr_bytes saved);

/* ---- What the host offers ---- */

/* How much a line of the log matters. */
typedef enum rr_level { RR_LOG_TRACE, RR_LOG_DEBUG, RR_LOG_INFO, RR_LOG_WARN, RR_LOG_ERROR } rr_level;

/* Writes a line to the host's log, made as printf does. */
void rr_log(rr_level level, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));

/* A value that the manifest gives to this route and component; nothing without one. */
rr_bytes rr_config(const char *key);
/* All values, sorted by key. */
rr_fields rr_config_entries(void);

/* A secret that the manifest grants to this component; nothing for any other name. Do not log it. */
rr_bytes rr_secret(const char *name);

/* The path of a named route with its parameters filled in and percent-encoded. */
rr_status rr_url_for(const char *route, const rr_field *params, size_t count, rr_bytes *path);

/* Delivers later messages of this topic to this held session as events. */
rr_status rr_subscribe(rr_bytes topic);
/* Ends a subscription. */
void rr_unsubscribe(rr_bytes topic);
/* Sends to every session subscribed now; *receivers (may be NULL) is how many there are. Never waits. */
rr_status rr_publish(rr_bytes topic, rr_bytes payload, uint32_t *receivers);

/* Fires once, after this many milliseconds, in this held session. Returns the timer's id. */
uint64_t rr_timer_after(uint64_t milliseconds);
/* Fires every so many milliseconds (at least 1). */
uint64_t rr_timer_every(uint64_t milliseconds);
/* Stops a timer; an unknown id does nothing. */
void rr_timer_cancel(uint64_t id);

/* ---- Stores ---- */

/* The keys of one store that this component sees. It is open until the call from the host is over: callbacks open it
 * anew. Keys are UTF-8. Every operation waits for the store. After RR_TIMEOUT, what was asked for may still happen;
 * RR_INTERNAL is a store that fails, RR_TOO_LARGE a key, a value or a store over its size. */
typedef struct rr_store rr_store;

/* Opens a store by its name in the manifest. RR_REFUSED for any name that is not granted. */
rr_status rr_store_open(const char *name, rr_store **store);
/* What stands under a key; nothing without one. */
rr_status rr_store_get(rr_store *store, rr_bytes key, rr_bytes *value);
/* Puts a value under a key, for so many milliseconds or, with 0, until it is changed. */
rr_status rr_store_set(rr_store *store, rr_bytes key, rr_bytes value, uint64_t ttl);
/* The same if what stands there now is `expected`, where no data is for nothing; *was tells whether it was. */
rr_status rr_store_set_if(rr_store *store, rr_bytes key, rr_bytes expected, rr_bytes value, uint64_t ttl, bool *was);
/* Removes a key; *was (may be NULL) tells whether it was there. */
rr_status rr_store_delete(rr_store *store, rr_bytes key, bool *was);
/* Whether a key is there. */
rr_status rr_store_exists(rr_store *store, rr_bytes key, bool *is);
/* Adds to the number under a key, which is written in decimal; nothing counts as 0. *sum (may be NULL) is the sum.
 * RR_REFUSED when there is no number of 64 bits, or would be none. */
rr_status rr_store_increment(rr_store *store, rr_bytes key, int64_t delta, int64_t *sum);
/* Keys that begin with a prefix, in no certain order: about `limit` of them, 0 for as many as the host gives at once.
 * *next is the cursor of the next page; nothing after the last, and nothing asks for the first. */
rr_status rr_store_keys(rr_store *store, rr_bytes prefix, rr_bytes cursor, uint32_t limit, rr_list *keys, rr_bytes *next);

/* ---- Text ---- */

/* Without percent-encoding (RFC 3986, 2.1). What is no encoding stays as it is. */
rr_bytes rr_percent_decode(rr_bytes bytes);
/* The first value of this name in a query or a form (application/x-www-form-urlencoded), decoded; nothing without
 * one. */
rr_bytes rr_form_value(rr_bytes form, const char *name);
/* UTF-8 text as a JSON string, with its quotes (RFC 8259, 7). */
rr_bytes rr_json_string(rr_bytes text);

#ifdef __cplusplus
}
#endif

#endif
