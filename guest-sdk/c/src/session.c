/*
 * The exports of roadrunner:handler: joins the program's functions to what the host calls.
 *
 * One instance answers one request at a time, so there is one place for what is held between the host's calls. After
 * each call, in its `cabi_post_` function, the memory of the call is freed, and that of the response when it is over. The
 * bindings have these functions, too, to free each value alone; theirs are weak and give way. No function of the host can
 * be called in them, so the body and the stores go before.
 */
#include "internal.h"

static held_session held;
static bool is_over;
void (*end_exchanges)(void);

static roadrunner_handler_types_list_field_t to_fields(const field_list *fields) {
    return (roadrunner_handler_types_list_field_t){fields->items, fields->length};
}

/* The end of every call. */
static void end_call(void) {
    if (is_over) {
        is_over = false;
        held = (held_session){0};
        arena_end_response();
    }
    forget_error();
    arena_end_call();
}

/* The end of the program's part of every call: what the host has to be told. */
static void leave(void) {
    stores_end_call();
    if (is_over) {
        body_end_response();
        if (end_exchanges != NULL) {
            end_exchanges();
        }
    }
}

void exports_roadrunner_handler_handler_handle(exports_roadrunner_handler_handler_own_request_t handle,
                                               exports_roadrunner_handler_handler_response_t *answer) {
    rr_request request = {roadrunner_handler_types_borrow_request(handle)};
    rr_response *response = rr_handle(&request);
    if (response == NULL) {
        rr_fail("rr_handle() returned NULL");
    }
    roadrunner_handler_types_request_drop_own(handle);
    roadrunner_handler_types_list_field_t headers = to_fields(&response->headers);
    held = response->next;
    is_over = false;
    switch (response->wit.tag) {
    case ROADRUNNER_HANDLER_TYPES_RESPONSE_BUFFERED:
        response->wit.val.buffered.head.headers = headers;
        response->wit.val.buffered.trailers = to_fields(&response->trailers);
        is_over = true;
        break;
    case ROADRUNNER_HANDLER_TYPES_RESPONSE_STREAM:
        response->wit.val.stream.headers = headers;
        break;
    case ROADRUNNER_HANDLER_TYPES_RESPONSE_LOOP:
        response->wit.val.loop.head.headers = headers;
        break;
    case ROADRUNNER_HANDLER_TYPES_RESPONSE_SENDFILE:
        response->wit.val.sendfile.head.headers = headers;
        is_over = true;
        break;
    case ROADRUNNER_HANDLER_TYPES_RESPONSE_WEBTRANSPORT:
        response->wit.val.webtransport = headers;
        break;
    default:
        response->wit.val.websocket.headers = headers;
    }
    leave();
    *answer = response->wit;
}

void exports_roadrunner_handler_streaming_run(
    exports_roadrunner_handler_streaming_borrow_body_writer_t out,
    exports_roadrunner_handler_streaming_result_list_field_error_t *result) {
    if (held.write == NULL) {
        rr_fail("the host called streaming.run, which the response did not ask for");
    }
    rr_writer writer = {.handle = out};
    rr_status status = held.write(&writer, held.state);
    roadrunner_handler_types_body_writer_drop_borrow(out);
    is_over = true;
    leave();
    result->is_err = status != RR_OK;
    if (result->is_err) {
        result->val.err = from_status(status);
    } else {
        result->val.ok.ptr = writer.trailers.items;
        result->val.ok.len = writer.trailers.length;
    }
}

static rr_event from_event(const roadrunner_handler_types_event_t *event) {
    switch (event->tag) {
    case ROADRUNNER_HANDLER_TYPES_EVENT_MESSAGE:
        return (rr_event){.kind = RR_MESSAGE,
                          .message = {from_string(event->val.message.topic), from_list(event->val.message.payload),
                                      event->val.message.missed}};
    case ROADRUNNER_HANDLER_TYPES_EVENT_TIMER:
        return (rr_event){.kind = RR_TIMER, .timer = event->val.timer};
    case ROADRUNNER_HANDLER_TYPES_EVENT_BODY:
        return (rr_event){.kind = RR_BODY, .body = from_list(event->val.body)};
    case ROADRUNNER_HANDLER_TYPES_EVENT_BODY_END:
        return (rr_event){.kind = RR_BODY_END,
                          .trailers = from_fields(event->val.body_end.ptr, event->val.body_end.len)};
    case ROADRUNNER_HANDLER_TYPES_EVENT_DRAIN:
        return (rr_event){.kind = RR_DRAIN, .drain = event->val.drain};
    default:
        is_over = true;
        return (rr_event){.kind = RR_DISCONNECT, .disconnect = (rr_disconnect)event->val.disconnect};
    }
}

static roadrunner_handler_types_next_t to_next(rr_next next, const field_list *trailers) {
    is_over = is_over || next != RR_CONTINUE;
    leave();
    if (next == RR_CONTINUE) {
        return (roadrunner_handler_types_next_t){.tag = ROADRUNNER_HANDLER_TYPES_NEXT_CONTINUE};
    }
    return (roadrunner_handler_types_next_t){.tag = ROADRUNNER_HANDLER_TYPES_NEXT_STOP,
                                             .val.stop = to_fields(trailers)};
}

void exports_roadrunner_handler_event_loop_on_event(
    exports_roadrunner_handler_event_loop_event_t *event,
    exports_roadrunner_handler_event_loop_borrow_body_writer_t out,
    exports_roadrunner_handler_event_loop_next_t *next) {
    if (held.on_event == NULL) {
        rr_fail("the host called event-loop.on-event, which the response did not ask for");
    }
    rr_writer writer = {.handle = out};
    rr_event seen = from_event(event);
    *next = to_next(held.on_event(&seen, &writer, held.state), &writer.trailers);
    roadrunner_handler_types_body_writer_drop_borrow(out);
}

static const field_list no_trailers;

void exports_roadrunner_handler_websocket_on_open(exports_roadrunner_handler_websocket_borrow_ws_sender_t out,
                                                  exports_roadrunner_handler_websocket_next_t *next) {
    rr_socket socket = {out};
    rr_next answer = held.socket.on_open == NULL ? RR_CONTINUE : held.socket.on_open(&socket, held.state);
    *next = to_next(answer, &no_trailers);
    roadrunner_handler_types_ws_sender_drop_borrow(out);
}

void exports_roadrunner_handler_websocket_on_message(exports_roadrunner_handler_websocket_ws_message_t *message,
                                                     exports_roadrunner_handler_websocket_borrow_ws_sender_t out,
                                                     exports_roadrunner_handler_websocket_next_t *next) {
    rr_socket socket = {out};
    bool is_text = message->tag == ROADRUNNER_HANDLER_TYPES_WS_MESSAGE_TEXT;
    rr_bytes bytes = is_text ? from_string(message->val.text) : from_list(message->val.binary);
    rr_socket_message seen = {is_text, bytes};
    rr_next answer = held.socket.on_message == NULL ? RR_CONTINUE : held.socket.on_message(&seen, &socket, held.state);
    *next = to_next(answer, &no_trailers);
    roadrunner_handler_types_ws_sender_drop_borrow(out);
}

/* A shutdown of the host closes with 1001 (RFC 6455, 7.4.1). */
static rr_next close_on_drain(const rr_event *event, rr_socket *socket) {
    if (event->kind != RR_DRAIN) {
        return RR_CONTINUE;
    }
    rr_close(socket, 1001, "the server is shutting down");
    return RR_STOP;
}

void exports_roadrunner_handler_websocket_on_event(exports_roadrunner_handler_websocket_event_t *event,
                                                   exports_roadrunner_handler_websocket_borrow_ws_sender_t out,
                                                   exports_roadrunner_handler_websocket_next_t *next) {
    rr_socket socket = {out};
    rr_event seen = from_event(event);
    rr_next answer = held.socket.on_event == NULL ? close_on_drain(&seen, &socket)
                                                  : held.socket.on_event(&seen, &socket, held.state);
    *next = to_next(answer, &no_trailers);
    roadrunner_handler_types_ws_sender_drop_borrow(out);
}

void exports_roadrunner_handler_webtransport_on_open(
    exports_roadrunner_handler_webtransport_borrow_wt_session_t handle,
    exports_roadrunner_handler_webtransport_next_t *next) {
    rr_wt_session session = {handle};
    rr_next answer = held.transport.on_open == NULL ? RR_CONTINUE : held.transport.on_open(&session, held.state);
    *next = to_next(answer, &no_trailers);
    roadrunner_handler_types_wt_session_drop_borrow(handle);
}

static rr_wt_event from_wt_event(const roadrunner_handler_types_wt_event_t *event) {
    switch (event->tag) {
    case ROADRUNNER_HANDLER_TYPES_WT_EVENT_OPENED:
        return (rr_wt_event){.kind = RR_WT_OPENED, .stream = event->val.opened.id,
                             .bidirectional = event->val.opened.bidirectional};
    case ROADRUNNER_HANDLER_TYPES_WT_EVENT_DATA:
        return (rr_wt_event){.kind = RR_WT_DATA, .stream = event->val.data.id, .bytes = from_list(event->val.data.bytes)};
    case ROADRUNNER_HANDLER_TYPES_WT_EVENT_FINISHED:
        return (rr_wt_event){.kind = RR_WT_FINISHED, .stream = event->val.finished};
    case ROADRUNNER_HANDLER_TYPES_WT_EVENT_RESET:
        return (rr_wt_event){.kind = RR_WT_RESET, .stream = event->val.reset.id, .code = event->val.reset.code};
    case ROADRUNNER_HANDLER_TYPES_WT_EVENT_STOPPED:
        return (rr_wt_event){.kind = RR_WT_STOPPED, .stream = event->val.stopped.id, .code = event->val.stopped.code};
    case ROADRUNNER_HANDLER_TYPES_WT_EVENT_DATAGRAM:
        return (rr_wt_event){.kind = RR_WT_DATAGRAM, .bytes = from_list(event->val.datagram)};
    case ROADRUNNER_HANDLER_TYPES_WT_EVENT_DRAINING:
        return (rr_wt_event){.kind = RR_WT_DRAINING};
    default:
        return (rr_wt_event){.kind = RR_WT_CLOSED, .code = event->val.closed.code,
                             .bytes = from_string(event->val.closed.reason)};
    }
}

void exports_roadrunner_handler_webtransport_on_session_event(
    exports_roadrunner_handler_webtransport_wt_event_t *event,
    exports_roadrunner_handler_webtransport_borrow_wt_session_t handle,
    exports_roadrunner_handler_webtransport_next_t *next) {
    rr_wt_session session = {handle};
    rr_wt_event seen = from_wt_event(event);
    rr_next answer = held.transport.on_session_event == NULL
                         ? RR_CONTINUE
                         : held.transport.on_session_event(&seen, &session, held.state);
    *next = to_next(answer, &no_trailers);
    roadrunner_handler_types_wt_session_drop_borrow(handle);
}

static rr_next close_transport_on_drain(const rr_event *event, rr_wt_session *session) {
    if (event->kind != RR_DRAIN) {
        return RR_CONTINUE;
    }
    rr_wt_close(session, 1001, "the server is shutting down");
    return RR_CONTINUE;
}

void exports_roadrunner_handler_webtransport_on_event(
    exports_roadrunner_handler_webtransport_event_t *event,
    exports_roadrunner_handler_webtransport_borrow_wt_session_t handle,
    exports_roadrunner_handler_webtransport_next_t *next) {
    rr_wt_session session = {handle};
    rr_event seen = from_event(event);
    rr_next answer = held.transport.on_event == NULL ? close_transport_on_drain(&seen, &session)
                                                     : held.transport.on_event(&seen, &session, held.state);
    *next = to_next(answer, &no_trailers);
    roadrunner_handler_types_wt_session_drop_borrow(handle);
}

void exports_roadrunner_handler_hibernation_suspend(bindings_option_list_u8_t *saved) {
    rr_bytes bytes = held.suspend == NULL ? (rr_bytes){0} : held.suspend(held.state);
    leave();
    *saved = (bindings_option_list_u8_t){bytes.data != NULL, to_list(bytes)};
}

/* For programs whose sessions stay; others define their own. */
__attribute__((__weak__)) rr_response *rr_resume(rr_bytes saved) {
    (void)saved;
    rr_fail("a session has hibernated, and the program defines no rr_resume()");
}

/* There is no result to be read, and so no `cabi_post_` function. */
void exports_roadrunner_handler_hibernation_resume(bindings_list_u8_t *saved) {
    rr_response *response = rr_resume(from_list(*saved));
    if (response == NULL) {
        rr_fail("rr_resume() returned NULL");
    }
    held = response->next;
    leave();
    end_call();
}

/* Canonical ABI: called once the host has read the result. */
#define POST_RETURN(function, name)                                                                                    \
    void function(uint8_t *result);                                                                                    \
    __attribute__((__export_name__("cabi_post_roadrunner:handler/" name))) void function(uint8_t *result) {            \
        (void)result;                                                                                                  \
        end_call();                                                                                                    \
    }

POST_RETURN(__wasm_export_exports_roadrunner_handler_handler_handle_post_return, "handler@0.1.0#handle")
POST_RETURN(__wasm_export_exports_roadrunner_handler_streaming_run_post_return, "streaming@0.1.0#run")
POST_RETURN(__wasm_export_exports_roadrunner_handler_event_loop_on_event_post_return, "event-loop@0.1.0#on-event")
POST_RETURN(__wasm_export_exports_roadrunner_handler_websocket_on_open_post_return, "websocket@0.1.0#on-open")
POST_RETURN(__wasm_export_exports_roadrunner_handler_websocket_on_message_post_return, "websocket@0.1.0#on-message")
POST_RETURN(__wasm_export_exports_roadrunner_handler_websocket_on_event_post_return, "websocket@0.1.0#on-event")
POST_RETURN(__wasm_export_exports_roadrunner_handler_webtransport_on_open_post_return, "webtransport@0.1.0#on-open")
POST_RETURN(__wasm_export_exports_roadrunner_handler_webtransport_on_session_event_post_return,
            "webtransport@0.1.0#on-session-event")
POST_RETURN(__wasm_export_exports_roadrunner_handler_webtransport_on_event_post_return, "webtransport@0.1.0#on-event")
POST_RETURN(__wasm_export_exports_roadrunner_handler_hibernation_suspend_post_return, "hibernation@0.1.0#suspend")
