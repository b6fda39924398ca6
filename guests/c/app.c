/* The demo's routes in C: one for each shape of response. guests/README.md has the table. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "demo.h"

/* What a small API answers. */
static rr_response *json(rr_request *request) {
    static const char *const versions[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"};
    rr_bytes method = rr_json_string(rr_request_method(request));
    rr_bytes peer = rr_json_string(rr_request_peer(request));
    rr_bytes body = rr_format("{\"message\":\"hello, world\",\"method\":%s,\"version\":\"%s\",\"peer\":%s}", method.data,
                              versions[rr_request_version(request)], peer.data);
    rr_response *response = rr_buffered(200, body);
    rr_header(response, "content-type", rr_string("application/json"));
    return response;
}

/* Sends each piece of the request body back as it arrives, then the request's trailers. */
static rr_status repeat_body(rr_writer *out, void *body) {
    static char buffer[65536];
    rr_status status;
    for (;;) {
        size_t length;
        status = rr_body_read(body, buffer, sizeof buffer, &length);
        if (status != RR_OK || length == 0) {
            break;
        }
        status = rr_write(out, (rr_bytes){buffer, length});
        if (status != RR_OK) {
            return status;
        }
    }
    rr_fields trailers;
    if (status == RR_OK && (status = rr_body_trailers(body, &trailers)) == RR_OK) {
        for (size_t at = 0; at < trailers.length; at++) {
            rr_write_trailer(out, trailers.items[at].name.data, trailers.items[at].value);
        }
    }
    return status;
}

static rr_response *echo(rr_request *request) {
    static const char *const copied[] = {"content-type", "trailer"};
    rr_response *response = rr_stream(200, repeat_body, rr_request_body(request));
    for (size_t at = 0; at < sizeof copied / sizeof *copied; at++) {
        rr_bytes value = rr_request_header(request, copied[at]);
        if (value.data != NULL) {
            rr_header(response, copied[at], value);
        }
    }
    return response;
}

struct chunks {
    long count;
    long delay;
};

/* `n` chunks (10), `delay` milliseconds (0) after each but the last, and their number as a trailer. */
static rr_status write_chunks(rr_writer *out, void *state) {
    const struct chunks *chunks = state;
    for (long chunk = 0; chunk < chunks->count; chunk++) {
        if (chunk > 0 && chunks->delay > 0) {
            nanosleep(&(struct timespec){chunks->delay / 1000, chunks->delay % 1000 * 1000000}, NULL);
        }
        rr_mark mark = rr_memory();
        rr_status status = rr_write(out, rr_format("chunk %ld\n", chunk));
        if (status != RR_OK) {
            return status;
        }
        rr_release(mark);
    }
    rr_write_trailer(out, "x-chunks", rr_format("%ld", chunks->count));
    return RR_OK;
}

static long number(const rr_request *request, const char *name, long otherwise) {
    rr_bytes value = rr_request_query_value(request, name);
    return value.data == NULL ? otherwise : strtol(value.data, NULL, 10);
}

static rr_response *stream(rr_request *request) {
    struct chunks *chunks = rr_keep(sizeof *chunks);
    *chunks = (struct chunks){number(request, "n", 10), number(request, "delay", 0)};
    rr_response *response = rr_stream(200, write_chunks, chunks);
    rr_header(response, "content-type", rr_string("text/plain; charset=utf-8"));
    rr_header(response, "trailer", rr_string("x-chunks"));
    return response;
}

/* A tick a second. */
static rr_next tick(const rr_event *event, rr_writer *out, void *state) {
    unsigned *ticks = state;
    if (event->kind == RR_DRAIN) {
        return RR_STOP;
    }
    if (event->kind == RR_TIMER && rr_write_event(out, rr_format("%u", ++*ticks)) != RR_OK) {
        return RR_STOP;
    }
    return RR_CONTINUE;
}

static rr_response *ticks(void) {
    rr_timer_every(1000);
    return rr_event_stream(tick, rr_keep(sizeof(unsigned)));
}

struct room {
    uint64_t start;
    uint64_t clock;
    unsigned ticks;
};

/* Speaks to itself on the topic `room`, leaves it with the third tick of a timer, and says how many still listen. */
static rr_next hear(const rr_event *event, rr_writer *out, void *state) {
    struct room *room = state;
    rr_status status = RR_OK;
    uint32_t receivers;
    if (event->kind == RR_DRAIN) {
        return RR_STOP;
    }
    if (event->kind == RR_MESSAGE) {
        status = rr_write_event(out, event->message.payload);
    } else if (event->kind == RR_TIMER && event->timer == room->start) {
        status = rr_publish(rr_string("room"), rr_string("ping"), NULL);
        room->clock = rr_timer_every(20);
    } else if (event->kind == RR_TIMER && ++room->ticks == 3) {
        rr_timer_cancel(room->clock);
        rr_unsubscribe(rr_string("room"));
        status = rr_publish(rr_string("room"), rr_string("unheard"), &receivers);
        if (status == RR_OK) {
            status = rr_write_event(out, rr_format("%u", (unsigned)receivers));
        }
    }
    return status == RR_OK ? RR_CONTINUE : RR_STOP;
}

static rr_response *enter(void) {
    struct room *room = rr_keep(sizeof *room);
    rr_status status = rr_subscribe(rr_string("room"));
    if (status != RR_OK) {
        return rr_rejected(status);
    }
    room->start = rr_timer_after(1);
    return rr_event_stream(hear, room);
}

/* The manifest's value for `greeting`; the log says that it was asked for. */
static rr_response *settings(void) {
    rr_log(RR_LOG_WARN, "the greeting was asked for");
    rr_bytes greeting = rr_config("greeting");
    return rr_text(200, "%s\n", greeting.data == NULL ? "none" : (const char *)greeting.data);
}

/* Counts the bytes of a body of any size without keeping them. */
static rr_response *upload(rr_request *request) {
    static char buffer[65536];
    rr_body *body = rr_request_body(request);
    unsigned long long count = 0;
    size_t length;
    do {
        rr_status status = rr_body_read(body, buffer, sizeof buffer, &length);
        if (status != RR_OK) {
            return rr_rejected(status);
        }
        count += length;
    } while (length > 0);
    return rr_text(200, "%llu\n", count);
}

/* Sends each message back. */
static rr_next repeat(const rr_socket_message *message, rr_socket *socket, void *state) {
    (void)state;
    return rr_send(socket, message) == RR_OK ? RR_CONTINUE : RR_STOP;
}

/* The state of a session that counts, which outlives its instance. */
struct tally {
    unsigned seen;
    bool is_transport;
};

/* A text behind its number. */
static rr_bytes numbered(struct tally *tally, rr_bytes text) {
    return rr_format("%u %.*s", ++tally->seen, RR_PRINT(text));
}

/* Sends each message back behind its number. */
static rr_next count(const rr_socket_message *message, rr_socket *socket, void *state) {
    return rr_send_text(socket, numbered(state, message->bytes)) == RR_OK ? RR_CONTINUE : RR_STOP;
}

/* Sends the bytes of streams, and datagrams, back behind their number. */
static rr_next count_transport(const rr_wt_event *event, rr_wt_session *session, void *state) {
    if (event->kind == RR_WT_DATA) {
        /* A stream that is over is not the end of the session. */
        rr_wt_send(session, event->stream, numbered(state, event->bytes));
    } else if (event->kind == RR_WT_DATAGRAM) {
        rr_wt_send_datagram(session, numbered(state, event->bytes));
    }
    return RR_CONTINUE;
}

static rr_bytes save_tally(void *state) {
    return (rr_bytes){state, sizeof(struct tally)};
}

static rr_response *counter(struct tally tally) {
    struct tally *state = rr_keep(sizeof *state);
    *state = tally;
    rr_response *response =
        tally.is_transport ? rr_webtransport((rr_wt_functions){.on_session_event = count_transport}, state)
                           : rr_websocket((rr_socket_functions){.on_message = count}, state);
    rr_hibernate(response, save_tally);
    return response;
}

rr_response *rr_resume(rr_bytes saved) {
    struct tally tally;
    memcpy(&tally, saved.data, sizeof tally);
    return counter(tally);
}

/* A stream of the client, and the one that it is answered on. */
struct answer {
    uint64_t stream;
    uint64_t answer;
    struct answer *next;
};

/* Where the answer is, or NULL: by the client's stream, or by the one that it is answered on. */
static struct answer **find(struct answer **answers, uint64_t id, bool by_answer) {
    for (; *answers != NULL; answers = &(*answers)->next) {
        if ((by_answer ? (*answers)->answer : (*answers)->stream) == id) {
            return answers;
        }
    }
    return NULL;
}

static void forget(struct answer **place) {
    struct answer *answer = *place;
    *place = answer->next;
    free(answer);
}

static void answer_stream(const rr_wt_event *event, rr_wt_session *session, struct answer **answers) {
    struct answer *fresh = malloc(sizeof *fresh);
    if (fresh == NULL) {
        rr_fail("there is no memory for one more stream");
    }
    *fresh = (struct answer){event->stream, event->stream, *answers};
    if (!event->bidirectional && rr_wt_open_unidirectional(session, &fresh->answer) != RR_OK) {
        /* Over the host's limit: the client may try again. */
        rr_wt_stop(session, event->stream, 0);
        free(fresh);
        return;
    }
    *answers = fresh;
}

/* Echoes each bidirectional stream, answers a unidirectional stream with one of its own, and echoes datagrams. */
static rr_next reflect(const rr_wt_event *event, rr_wt_session *session, void *state) {
    struct answer **answers = state;
    struct answer **place = find(answers, event->stream, event->kind == RR_WT_STOPPED);
    rr_status status = RR_OK;
    if (event->kind == RR_WT_OPENED) {
        answer_stream(event, session, answers);
    } else if (event->kind == RR_WT_DATAGRAM) {
        /* One that does not fit the path is lost, as any may be. */
        rr_wt_send_datagram(session, event->bytes);
    } else if (place == NULL) {
        return RR_CONTINUE;
    } else if (event->kind == RR_WT_DATA) {
        status = rr_wt_send(session, (*place)->answer, event->bytes);
    } else if (event->kind == RR_WT_FINISHED) {
        rr_wt_finish(session, (*place)->answer);
        forget(place);
    } else if (event->kind == RR_WT_RESET) {
        rr_wt_reset(session, (*place)->answer, event->code);
        forget(place);
    } else if (event->kind == RR_WT_STOPPED) {
        /* Nobody wants the echo. */
        rr_wt_stop(session, (*place)->stream, event->code);
        forget(place);
    }
    /* A stream that is over is not the end of the session. */
    return status == RR_OK || status == RR_CLOSED ? RR_CONTINUE : RR_STOP;
}

rr_response *rr_handle(rr_request *request) {
    rr_bytes path = rr_request_path(request);
    if (rr_after(path, "/c/").data != NULL) {
        path = rr_after(path, "/c");
    }
    if (rr_equal(path, "/hello")) {
        return rr_text(200, "hello, world\n");
    }
    if (rr_equal(path, "/json")) {
        return json(request);
    }
    if (rr_equal(path, "/echo")) {
        return echo(request);
    }
    if (rr_equal(path, "/stream")) {
        return stream(request);
    }
    if (rr_equal(path, "/clock")) {
        return ticks();
    }
    if (rr_equal(path, "/room")) {
        return enter();
    }
    if (rr_equal(path, "/settings")) {
        return settings();
    }
    if (rr_equal(path, "/upload")) {
        return upload(request);
    }
    if (rr_equal(path, "/ws")) {
        return rr_websocket((rr_socket_functions){.on_message = repeat}, NULL);
    }
    if (rr_equal(path, "/count")) {
        return counter((struct tally){0, false});
    }
    if (rr_equal(path, "/wt")) {
        return rr_webtransport((rr_wt_functions){.on_session_event = reflect}, rr_keep(sizeof(struct answer *)));
    }
    if (rr_equal(path, "/wt/count")) {
        return counter((struct tally){0, true});
    }
    if (rr_equal(path, "/secret")) {
        return secret(request);
    }
    if (rr_equal(path, "/fetch")) {
        return ask_another(request, "GET");
    }
    if (rr_equal(path, "/forward")) {
        return ask_another(request, "POST");
    }
    rr_bytes operation = rr_after(path, "/store/");
    if (operation.data != NULL) {
        return use_store(request, operation);
    }
    rr_bytes file = rr_after(path, "/files/");
    if (file.data != NULL) {
        return rr_send_file(200, "files", rr_percent_decode(file));
    }
    return rr_text(404, "there is nothing here\n");
}
