/*
 * What the parts of the library share. Programs include roadrunner.h only.
 */
#ifndef ROADRUNNER_INTERNAL_H
#define ROADRUNNER_INTERNAL_H

#include "bindings.h"
#include "roadrunner.h"

struct rr_request {
    roadrunner_handler_types_borrow_request_t handle;
};

struct rr_body {
    roadrunner_handler_types_own_body_t handle;
    bool is_open;
};

/* Fields that are being collected. */
typedef struct field_list {
    roadrunner_handler_types_field_t *items;
    size_t length;
    size_t capacity;
} field_list;

struct rr_writer {
    roadrunner_handler_types_borrow_body_writer_t handle;
    field_list trailers;
};

struct rr_socket {
    roadrunner_handler_types_borrow_ws_sender_t handle;
};

struct rr_wt_session {
    roadrunner_handler_types_borrow_wt_session_t handle;
};

/* What the host calls next on this instance. */
typedef struct held_session {
    rr_stream_function write;
    rr_event_function on_event;
    rr_socket_functions socket;
    rr_wt_functions transport;
    rr_suspend_function suspend;
    void *state;
} held_session;

struct rr_response {
    exports_roadrunner_handler_handler_response_t wit;
    field_list headers;
    field_list trailers;
    held_session next;
};

/* arena.c: memory of the call, which is the one that the host writes into, and memory of the response. */
void *arena_alloc(size_t size, size_t align);
void arena_end_call(void);
void arena_end_response(void);

/* request.c: the body that was given out, if any, and its end with the response. */
void body_end_response(void);

/* store.c: closes the stores that were opened in this call. */
void stores_end_call(void);

/* exchange.c: closes the exchanges that are open when the response is over. NULL in a program that starts none, so that it
 * need not import them. */
extern void (*end_exchanges)(void);

/* text.c: conversions. None copies bytes, but for `lower_case`, which does so where it has to. */
rr_bytes from_string(bindings_string_t text);
rr_bytes from_list(bindings_list_u8_t list);
rr_bytes from_option(bindings_option_string_t option);
rr_list from_strings(bindings_list_string_t strings);
rr_fields from_fields(const roadrunner_handler_types_field_t *items, size_t length);
rr_fields from_pairs(bindings_list_tuple2_string_string_t pairs);
bindings_string_t to_string(rr_bytes bytes);
bindings_list_u8_t to_list(rr_bytes bytes);
bindings_string_t lower_case(const char *name);
rr_bytes copy_bytes(rr_bytes bytes);
rr_bytes format_bytes(const char *format, va_list arguments);
void add_field(field_list *fields, const char *name, rr_bytes value);

/* host.c: errors of the host, remembered for rr_error(). */
rr_status to_status(const roadrunner_handler_types_error_t *error);
rr_status own_error(rr_status status, rr_bytes text);
roadrunner_handler_types_error_t from_status(rr_status status);
void forget_error(void);

#endif
