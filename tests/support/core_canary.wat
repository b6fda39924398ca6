;; The isolation canary for what Rust cannot reach: a core module that fills its memory, its table and its globals, and
;; one that searches them. core_canary.rs puts in the globals and makes it a component.
;;
;; `/core/write?key=K` fills all of it, `/core/scan?key=K` searches, `/core/control?key=K` does both in one instance;
;; `/core/trap?key=K` and `/core/endless?key=K` fill all of it, and then trap or never return.
;;
;; A fresh instance knows what stands in each place, so the search counts every place that is not as it begins, whoever's
;; pattern that may be. The first page is left out: arguments and the answer are there.
(module
  (type $own (func (result i32)))
  (import "roadrunner:handler/types@0.1.0" "[method]request.path" (func $path (param i32 i32)))
  (import "roadrunner:handler/types@0.1.0" "[method]request.query" (func $query (param i32 i32)))
  (import "roadrunner:handler/types@0.1.0" "[resource-drop]request" (func $drop (param i32)))

  (memory (export "memory") 5)
  (data (i32.const 256) "wrote found ")

  ;; Four functions at first, the others null; it grows. The engine allows one table.
  (table $table 256 4096 funcref)
  (elem (table $table) (i32.const 0) func $zero $one $two $three)
  (elem declare func $mark)

  ;; Where the next allocation begins, and where the next byte of the answer stands.
  (global $heap (mut i32) (i32.const 4096))
  (global $end (mut i32) (i32.const 512))
{globals}

  (func $zero (result i32) (i32.const 0))
  (func $one (result i32) (i32.const 1))
  (func $two (result i32) (i32.const 2))
  (func $three (result i32) (i32.const 3))
  ;; What a filled table holds; it answers what no function of its own does.
  (func $mark (result i32) (i32.const -1))

  (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (local.get $at))

  (func (export "roadrunner:handler/handler@0.1.0#handle") (param $request i32) (result i32)
    (local $word i64) (local $what i32)
    ;; An instance that is reused begins anew.
    (global.set $end (i32.const 512))
    (local.set $word (call $word (call $key (local.get $request))))
    (call $path (local.get $request) (i32.const 16))
    ;; The letter behind `/core/`.
    (local.set $what (i32.load8_u offset=6 (i32.load (i32.const 16))))
    (if (i32.ne (local.get $what) (i32.const 0x73)) ;; s
      (then (call $say (i32.const 256) (call $fill (local.get $word)))))
    (if (i32.eq (local.get $what) (i32.const 0x74)) ;; t
      (then (unreachable)))
    (if (i32.eq (local.get $what) (i32.const 0x65)) ;; e
      (then (loop $again (br $again))))
    (if (i32.ne (local.get $what) (i32.const 0x77)) ;; w
      (then (call $say (i32.const 262) (call $search))))
    (i32.store8 (i32.sub (global.get $end) (i32.const 1)) (i32.const 0x0a))
    (call $drop (local.get $request))
    (call $answer))

  ;; A buffered response at 64: case, status, no headers, body, no trailers.
  (func $answer (result i32)
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store16 (i32.const 72) (i32.const 200))
    (i32.store (i32.const 84) (i32.const 512))
    (i32.store (i32.const 88) (i32.sub (global.get $end) (i32.const 512)))
    (i32.const 64))

  ;; The number behind `key=`.
  (func $key (param $request i32) (result i64)
    (local $at i32) (local $end i32) (local $key i64)
    (call $query (local.get $request) (i32.const 16))
    (local.set $at (i32.add (i32.load (i32.const 20)) (i32.const 4)))
    (local.set $end (i32.add (i32.load (i32.const 20)) (i32.load (i32.const 24))))
    (block $done
      (loop $digit
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $key (i64.add (i64.mul (local.get $key) (i64.const 10))
          (i64.sub (i64.load8_u (local.get $at)) (i64.const 0x30))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $digit)))
    (local.get $key))

  ;; The pattern of a key: the same as that of guests/canary.
  (func $word (param $key i64) (result i64)
    (local $mixed i64)
    (local.set $mixed (i64.mul (i64.xor (local.get $key) (i64.const 0x5bf03635dcf978a1)) (i64.const 0x9e3779b97f4a7c15)))
    (i64.or (i64.xor (local.get $mixed) (i64.shr_u (local.get $mixed) (i64.const 29))) (i64.const 1)))

  ;; How many places were filled.
  (func $fill (param $word i64) (result i32)
    (local $at i32) (local $count i32)
    ;; Memory: behind the first page, and four pages more.
    (if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) (then (unreachable)))
    (local.set $at (i32.const 65536))
    (loop $next
      (i64.store (local.get $at) (local.get $word))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    ;; The table, and 768 elements more: it is larger then than what a place of the pool keeps resident.
    (table.fill $table (i32.const 0) (ref.func $mark) (table.size $table))
    (if (i32.eq (table.grow $table (ref.func $mark) (i32.const 768)) (i32.const -1)) (then (unreachable)))
    (local.set $count (i32.add (local.get $count) (table.size $table)))
{fill}
    (i32.add (local.get $count) (i32.const {places})))

  ;; How many places are not as an instance begins.
  (func $search (result i32)
    (local $at i32) (local $count i32)
    ;; Memory, the same pages as above.
    (if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) (then (unreachable)))
    (local.set $at (i32.const 65536))
    (loop $next
      (local.set $count (i32.add (local.get $count) (i64.ne (i64.load (local.get $at)) (i64.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    ;; The table, whose size is one of the places, then grown; its functions are known by what they answer.
    (local.set $count (i32.add (local.get $count) (i32.ne (table.size $table) (i32.const 256))))
    (if (i32.eq (table.grow $table (ref.null func) (i32.const 768)) (i32.const -1)) (then (unreachable)))
    (local.set $at (i32.const 0))
    (loop $next
      (if (ref.is_null (table.get $table (local.get $at)))
        (then (local.set $count (i32.add (local.get $count) (i32.const 1))))
        (else (local.set $count (i32.add (local.get $count)
          (i32.ne (call_indirect $table (type $own) (local.get $at)) (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 4))))
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.eqz (ref.is_null (table.get $table (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (table.size $table))))
{search}
    (local.get $count))

  ;; Six letters, a decimal number and a space.
  (func $say (param $word i32) (param $number i32)
    (memory.copy (global.get $end) (local.get $word) (i32.const 6))
    (global.set $end (i32.add (global.get $end) (i32.const 6)))
    (call $digits (local.get $number))
    (call $byte (i32.const 0x20)))

  (func $digits (param $number i32)
    (if (i32.ge_u (local.get $number) (i32.const 10))
      (then (call $digits (i32.div_u (local.get $number) (i32.const 10)))))
    (call $byte (i32.add (i32.const 0x30) (i32.rem_u (local.get $number) (i32.const 10)))))

  (func $byte (param $byte i32)
    (i32.store8 (global.get $end) (local.get $byte))
    (global.set $end (i32.add (global.get $end) (i32.const 1)))))
