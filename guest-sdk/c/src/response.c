/*
 * Responses as rr_handle() makes them; session.c passes them on.
 */
#include "internal.h"

static rr_response *make(uint8_t tag) {
    rr_response *response = rr_alloc(sizeof *response);
    response->wit.tag = tag;
    return response;
}

static uint16_t code(int status) {
    if (status < 200 || status > 599) {
        rr_fail("%d is no status of a response", status);
    }
    return (uint16_t)status;
}

rr_response *rr_buffered(int status, rr_bytes body) {
    rr_response *response = make(ROADRUNNER_HANDLER_TYPES_RESPONSE_BUFFERED);
    response->wit.val.buffered.head.status = code(status);
    response->wit.val.buffered.body = to_list(body);
    return response;
}

rr_response *rr_text(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    rr_response *response = rr_buffered(status, format_bytes(format, arguments));
    va_end(arguments);
    rr_header(response, "content-type", rr_string("text/plain; charset=utf-8"));
    return response;
}

rr_response *rr_rejected(rr_status status) {
    switch (status) {
    case RR_CLOSED:
        return rr_text(400, "the request body was cut short\n");
    case RR_TIMEOUT:
        return rr_text(408, "the request took too long\n");
    case RR_TOO_LARGE:
        return rr_text(413, "the request body is too large\n");
    default:
        return rr_text(500, "internal error\n");
    }
}

rr_response *rr_send_file(int status, const char *directory, rr_bytes path) {
    rr_response *response = make(ROADRUNNER_HANDLER_TYPES_RESPONSE_SENDFILE);
    response->wit.val.sendfile.head.status = code(status);
    response->wit.val.sendfile.directory = to_string(rr_string(directory));
    response->wit.val.sendfile.path = to_string(path);
    return response;
}

void rr_send_file_range(rr_response *response, uint64_t start, uint64_t length) {
    if (response->wit.tag != ROADRUNNER_HANDLER_TYPES_RESPONSE_SENDFILE) {
        rr_fail("rr_send_file_range: the response is no file");
    }
    response->wit.val.sendfile.range.is_some = true;
    response->wit.val.sendfile.range.val.start = start;
    response->wit.val.sendfile.range.val.length = (bindings_option_u64_t){length != UINT64_MAX, length};
}

void rr_header(rr_response *response, const char *name, rr_bytes value) {
    add_field(&response->headers, name, value);
}

void rr_trailer(rr_response *response, const char *name, rr_bytes value) {
    if (response->wit.tag != ROADRUNNER_HANDLER_TYPES_RESPONSE_BUFFERED) {
        rr_fail("rr_trailer: the response is not buffered; rr_write_trailer() is for the others");
    }
    add_field(&response->trailers, name, value);
}

rr_response *rr_stream(int status, rr_stream_function write, void *state) {
    rr_response *response = make(ROADRUNNER_HANDLER_TYPES_RESPONSE_STREAM);
    response->wit.val.stream.status = code(status);
    response->next = (held_session){.write = write, .state = state};
    return response;
}

rr_response *rr_event_loop(int status, rr_event_function on_event, void *state) {
    rr_response *response = make(ROADRUNNER_HANDLER_TYPES_RESPONSE_LOOP);
    response->wit.val.loop.head.status = code(status);
    response->next = (held_session){.on_event = on_event, .state = state};
    return response;
}

rr_response *rr_event_stream(rr_event_function on_event, void *state) {
    rr_response *response = rr_event_loop(200, on_event, state);
    rr_header(response, "content-type", rr_string("text/event-stream"));
    rr_header(response, "cache-control", rr_string("no-cache"));
    return response;
}

void rr_body_events(rr_response *response) {
    if (response->wit.tag != ROADRUNNER_HANDLER_TYPES_RESPONSE_LOOP) {
        rr_fail("rr_body_events: the response is no event loop");
    }
    response->wit.val.loop.body_events = true;
}

rr_response *rr_websocket(rr_socket_functions functions, void *state) {
    rr_response *response = make(ROADRUNNER_HANDLER_TYPES_RESPONSE_WEBSOCKET);
    response->next = (held_session){.socket = functions, .state = state};
    return response;
}

void rr_subprotocol(rr_response *response, rr_bytes subprotocol) {
    if (response->wit.tag != ROADRUNNER_HANDLER_TYPES_RESPONSE_WEBSOCKET) {
        rr_fail("rr_subprotocol: the response is no WebSocket");
    }
    response->wit.val.websocket.subprotocol = (bindings_option_string_t){true, to_string(copy_bytes(subprotocol))};
}

rr_response *rr_webtransport(rr_wt_functions functions, void *state) {
    rr_response *response = make(ROADRUNNER_HANDLER_TYPES_RESPONSE_WEBTRANSPORT);
    response->next = (held_session){.transport = functions, .state = state};
    return response;
}

void rr_hibernate(rr_response *response, rr_suspend_function suspend) {
    if (response->wit.tag != ROADRUNNER_HANDLER_TYPES_RESPONSE_LOOP &&
        response->wit.tag != ROADRUNNER_HANDLER_TYPES_RESPONSE_WEBSOCKET &&
        response->wit.tag != ROADRUNNER_HANDLER_TYPES_RESPONSE_WEBTRANSPORT) {
        rr_fail("rr_hibernate: the response is no event loop, no WebSocket and no WebTransport session");
    }
    response->next.suspend = suspend;
}
