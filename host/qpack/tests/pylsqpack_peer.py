"""The other side of the differential test: pylsqpack behind lines of hex on standard input and output.

Each request is one line of words, each answer one line that starts with "ok", "blocked" or "error". Byte strings are hex
with a leading "=", so that an empty one is a word too. A list of fields is "name:value" words.

  encoder CAPACITY BLOCKED        new encoder with the peer's settings   ok INSTRUCTIONS
  encode STREAM FIELD...                                                 ok INSTRUCTIONS SECTION
  feed-decoder BYTES              bytes of the decoder stream            ok
  decoder CAPACITY BLOCKED        new decoder                            ok
  feed-encoder BYTES              bytes of the encoder stream            ok STREAM...
  decode STREAM SECTION                                                  ok INSTRUCTIONS FIELD... | blocked
  resume STREAM                   after feed-encoder named it            ok INSTRUCTIONS FIELD... | blocked
  cancel STREAM                                                          ok INSTRUCTIONS
"""

import sys

import pylsqpack


def enhex(data):
    return "=" + data.hex()


def unhex(word):
    return bytes.fromhex(word[1:])


def fields_to_words(fields):
    return [enhex(name) + ":" + enhex(value) for name, value in fields]


def words_to_fields(words):
    pairs = (word.split(":") for word in words)
    return [(unhex(name), unhex(value)) for name, value in pairs]


class Peer:
    def answer(self, verb, words):
        if verb == "encoder":
            self.encoder = pylsqpack.Encoder()
            return [enhex(self.encoder.apply_settings(int(words[0]), int(words[1])))]
        if verb == "encode":
            instructions, section = self.encoder.encode(int(words[0]), words_to_fields(words[1:]))
            return [enhex(instructions), enhex(section)]
        if verb == "feed-decoder":
            self.encoder.feed_decoder(unhex(words[0]))
            return []
        if verb == "decoder":
            self.decoder = pylsqpack.Decoder(int(words[0]), int(words[1]))
            return []
        if verb == "feed-encoder":
            return [str(stream) for stream in self.decoder.feed_encoder(unhex(words[0]))]
        if verb == "decode":
            instructions, fields = self.decoder.feed_header(int(words[0]), unhex(words[1]))
            return [enhex(instructions)] + fields_to_words(fields)
        if verb == "resume":
            instructions, fields = self.decoder.resume_header(int(words[0]))
            return [enhex(instructions)] + fields_to_words(fields)
        if verb == "cancel":
            return [enhex(self.decoder.cancel_stream(int(words[0])))]
        raise ValueError("no such verb: " + verb)


def main():
    peer = Peer()
    print("ok", flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        try:
            answer = ["ok"] + peer.answer(verb, words)
        except pylsqpack.StreamBlocked:
            answer = ["blocked"]
        except Exception as error:
            answer = ["error", type(error).__name__, str(error)]
        print(" ".join(answer), flush=True)


main()
