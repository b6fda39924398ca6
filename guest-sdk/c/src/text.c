/*
 * Bytes, text and fields: what the header offers, and the conversions from and to the bindings.
 */
#include <stdio.h>
#include <string.h>

#include "internal.h"

rr_bytes rr_string(const char *text) {
    return (rr_bytes){text, text == NULL ? 0 : strlen(text)};
}

bool rr_equal(rr_bytes bytes, const char *text) {
    return bytes.data != NULL && strlen(text) == bytes.length && memcmp(bytes.data, text, bytes.length) == 0;
}

rr_bytes rr_after(rr_bytes bytes, const char *prefix) {
    size_t length = strlen(prefix);
    if (bytes.data == NULL || bytes.length < length || memcmp(bytes.data, prefix, length) != 0) {
        return (rr_bytes){0};
    }
    return (rr_bytes){bytes.data + length, bytes.length - length};
}

rr_bytes rr_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    rr_bytes text = format_bytes(format, arguments);
    va_end(arguments);
    return text;
}

rr_bytes format_bytes(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) {
        rr_fail("a format is wrong: %s", format);
    }
    char *text = arena_alloc((size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    return (rr_bytes){text, (size_t)length};
}

static int hex(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static rr_bytes decode(rr_bytes bytes, bool plus_is_space) {
    if (bytes.data == NULL) {
        return bytes;
    }
    char *text = arena_alloc(bytes.length + 1, 1);
    size_t length = 0;
    for (size_t at = 0; at < bytes.length; at++) {
        char byte = bytes.data[at];
        if (byte == '%' && bytes.length - at > 2 && hex(bytes.data[at + 1]) >= 0 && hex(bytes.data[at + 2]) >= 0) {
            byte = (char)(hex(bytes.data[at + 1]) << 4 | hex(bytes.data[at + 2]));
            at += 2;
        } else if (byte == '+' && plus_is_space) {
            byte = ' ';
        }
        text[length++] = byte;
    }
    text[length] = 0;
    return (rr_bytes){text, length};
}

rr_bytes rr_percent_decode(rr_bytes bytes) {
    return decode(bytes, false);
}

rr_bytes rr_form_value(rr_bytes form, const char *name) {
    const char *at = form.data, *end = form.data + form.length;
    while (at != NULL && at < end) {
        const char *pair_end = memchr(at, '&', (size_t)(end - at));
        pair_end = pair_end == NULL ? end : pair_end;
        const char *equals = memchr(at, '=', (size_t)(pair_end - at));
        const char *name_end = equals == NULL ? pair_end : equals;
        if (rr_equal(decode((rr_bytes){at, (size_t)(name_end - at)}, true), name)) {
            const char *value = equals == NULL ? pair_end : equals + 1;
            return decode((rr_bytes){value, (size_t)(pair_end - value)}, true);
        }
        at = pair_end == end ? end : pair_end + 1;
    }
    return (rr_bytes){0};
}

rr_bytes rr_json_string(rr_bytes text) {
    static const char digits[] = "0123456789abcdef";
    if (text.length > SIZE_MAX / 8) {
        __builtin_trap();
    }
    /* A control character takes six bytes: \u001f. */
    char *json = arena_alloc(text.length * 6 + 3, 1);
    size_t length = 0;
    json[length++] = '"';
    for (size_t at = 0; at < text.length; at++) {
        unsigned char byte = (unsigned char)text.data[at];
        if (byte == '"' || byte == '\\') {
            json[length++] = '\\';
            json[length++] = (char)byte;
        } else if (byte < 0x20) {
            memcpy(json + length, "\\u00", 4);
            json[length + 4] = digits[byte >> 4];
            json[length + 5] = digits[byte & 15];
            length += 6;
        } else {
            json[length++] = (char)byte;
        }
    }
    json[length++] = '"';
    json[length] = 0;
    return (rr_bytes){json, length};
}

rr_bytes from_string(bindings_string_t text) {
    return (rr_bytes){(const char *)text.ptr, text.len};
}

rr_bytes from_list(bindings_list_u8_t list) {
    return (rr_bytes){(const char *)list.ptr, list.len};
}

rr_bytes from_option(bindings_option_string_t option) {
    return option.is_some ? from_string(option.val) : (rr_bytes){0};
}

rr_list from_strings(bindings_list_string_t strings) {
    rr_bytes *items = arena_alloc(strings.len * sizeof *items, _Alignof(rr_bytes));
    for (size_t at = 0; at < strings.len; at++) {
        items[at] = from_string(strings.ptr[at]);
    }
    return (rr_list){items, strings.len};
}

rr_fields from_fields(const roadrunner_handler_types_field_t *items, size_t length) {
    rr_field *fields = arena_alloc(length * sizeof *fields, _Alignof(rr_field));
    for (size_t at = 0; at < length; at++) {
        fields[at] = (rr_field){from_string(items[at].f0), from_list(items[at].f1)};
    }
    return (rr_fields){fields, length};
}

rr_fields from_pairs(bindings_list_tuple2_string_string_t pairs) {
    rr_field *fields = arena_alloc(pairs.len * sizeof *fields, _Alignof(rr_field));
    for (size_t at = 0; at < pairs.len; at++) {
        fields[at] = (rr_field){from_string(pairs.ptr[at].f0), from_string(pairs.ptr[at].f1)};
    }
    return (rr_fields){fields, pairs.len};
}

/* The bindings do not say `const`; the host only reads what it is passed. */
bindings_string_t to_string(rr_bytes bytes) {
    return (bindings_string_t){(uint8_t *)(uintptr_t)bytes.data, bytes.length};
}

bindings_list_u8_t to_list(rr_bytes bytes) {
    return (bindings_list_u8_t){(uint8_t *)(uintptr_t)bytes.data, bytes.length};
}

bindings_string_t lower_case(const char *name) {
    rr_bytes bytes = rr_string(name);
    for (size_t at = 0; at < bytes.length; at++) {
        if (name[at] >= 'A' && name[at] <= 'Z') {
            char *copy = arena_alloc(bytes.length + 1, 1);
            for (size_t to = 0; to <= bytes.length; to++) {
                copy[to] = name[to] >= 'A' && name[to] <= 'Z' ? (char)(name[to] | 0x20) : name[to];
            }
            return to_string((rr_bytes){copy, bytes.length});
        }
    }
    return to_string(bytes);
}

rr_bytes copy_bytes(rr_bytes bytes) {
    char *copy = arena_alloc(bytes.length + 1, 1);
    if (bytes.length > 0) {
        memcpy(copy, bytes.data, bytes.length);
    }
    copy[bytes.length] = 0;
    return (rr_bytes){copy, bytes.length};
}

void add_field(field_list *fields, const char *name, rr_bytes value) {
    if (fields->length == fields->capacity) {
        size_t capacity = fields->capacity == 0 ? 8 : fields->capacity * 2;
        roadrunner_handler_types_field_t *items = arena_alloc(capacity * sizeof *items, _Alignof(max_align_t));
        if (fields->length > 0) {
            memcpy(items, fields->items, fields->length * sizeof *items);
        }
        fields->items = items;
        fields->capacity = capacity;
    }
    fields->items[fields->length++] = (roadrunner_handler_types_field_t){
        to_string(copy_bytes(rr_string(name))),
        to_list(copy_bytes(value)),
    };
}
