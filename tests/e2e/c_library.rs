//! The C library in components of the C SDK: the usual operations of a C program, built as the SDK's page says.

use std::process::Command;

use roadrunner_tests::{Ask, Setup, Way, command};
use tempfile::TempDir;

use crate::languages::{BUILD, c_compiler};

const PROGRAM: &str = r#"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "roadrunner.h"

/* Reads a file, appends to it, and says what it is. */
static rr_response *files(const char *path) {
    char line[64] = "";
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return rr_text(404, "%s\n", strerror(errno));
    }
    if (fgets(line, sizeof line, file) == NULL) {
        return rr_text(500, "fgets: %s\n", strerror(errno));
    }
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    fclose(file);
    file = fopen(path, "a");
    if (file == NULL || fprintf(file, "%s", "more\n") < 0 || fclose(file) != 0) {
        return rr_text(500, "fprintf: %s\n", strerror(errno));
    }
    struct stat found;
    if (stat(path, &found) != 0) {
        return rr_text(500, "stat: %s\n", strerror(errno));
    }
    int entries = 0;
    DIR *directory = opendir("/data");
    while (directory != NULL && readdir(directory) != NULL) {
        entries++;
    }
    return rr_text(200, "%s%ld then %d, %d entries\n", line, length, (int)found.st_size, entries);
}

static int by_number(const void *left, const void *right) {
    return *(const int *)left - *(const int *)right;
}

static rr_response *heap(void) {
    enum { COUNT = 20000 };
    unsigned long sum = 0;
    int **blocks = calloc(COUNT, sizeof *blocks);
    for (int n = 0; n < COUNT; n++) {
        blocks[n] = malloc(sizeof(int) * (size_t)(1 + n % 50));
        blocks[n][0] = (n * 7919) % COUNT;
    }
    for (int n = 0; n < COUNT; n += 2) {
        blocks[n] = realloc(blocks[n], 400);
    }
    int *sorted = malloc(sizeof(int) * COUNT);
    for (int n = 0; n < COUNT; n++) {
        sorted[n] = blocks[n][0];
        free(blocks[n]);
    }
    free(blocks);
    qsort(sorted, COUNT, sizeof *sorted, by_number);
    for (int n = 0; n < COUNT; n++) {
        sum += sorted[n] == n;
    }
    return rr_text(200, "%lu in order\n", sum);
}

rr_response *rr_handle(rr_request *request) {
    const char *path = rr_request_path(request).data;
    if (strcmp(path, "/heap") == 0) return heap();
#ifdef FILES
    if (strcmp(path, "/files") == 0) return files("/data/lines");
    if (strcmp(path, "/none") == 0) return files("/data/none");
    if (strcmp(path, "/outside") == 0) return files("/elsewhere/lines");
#else
    (void)files;
#endif
    printf("printed %d %s %.3f\n", 42, "times", sqrt(2.0));
    fprintf(stderr, "complained of %s\n", path);
    puts("and put");
    char word[16];
    errno = 0;
    int is_closed = fgets(word, sizeof word, stdin) == NULL && write(7, "x", 1) < 0 && errno == EBADF;
    double number = 0;
    int scanned = sscanf("3.5 apples", "%lf %15s", &number, word);
    return rr_text(200, "%d %d %.1f %s %d\n", is_closed, scanned, number, word, time(NULL) > 1700000000);
}
"#;

/// Builds the program with the SDK, and returns the component.
async fn build(folder: &TempDir, flags: &str) -> std::path::PathBuf {
    let (source, output) = (folder.path().join("app.c"), folder.path().join("app.wasm"));
    std::fs::write(&source, PROGRAM).expect("a file");
    let mut shell = Command::new("sh");
    shell.arg(command::workspace().join("guest-sdk/c/build.sh")).arg("-o").arg(&output).arg(&source);
    shell.env("ROADRUNNER", command::roadrunner().get_program()).env("CFLAGS", flags);
    let built = command::output_within(BUILD, shell).await;
    assert_eq!((built.code, built.stderr.as_str()), (0, ""), "{built:?}");
    output
}

fn serve(component: &std::path::Path, keys: &str) -> Setup {
    Setup::with(&format!(
        "[component.app]\nfile = {component:?}\n{keys}\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n"
    ))
}

/// Output is logged, and memory is available as everywhere. It takes one module: no adapter.
#[tokio::test]
async fn prints_and_allocates() {
    if !c_compiler("c_library::prints_and_allocates") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let component = build(&folder, "").await;
    let mut inspect = command::roadrunner();
    inspect.arg("inspect").arg(&component);
    let inspected = command::output(inspect).await;
    assert!(inspected.stdout.contains("roadrunner:handler/log") && !inspected.stdout.contains("wasi:filesystem"));
    let server = serve(&component, "").start().await;
    for way in Way::EACH {
        assert_eq!(server.text_of(way, Ask::get("/print")).await, "1 2 3.5 apples 1\n", "{way:?}");
        for line in ["printed 42 times 1.414", "complained of /print", "and put"] {
            server.log.message(line).await;
        }
        assert_eq!(server.text_of(way, Ask::get("/heap")).await, "20000 in order\n", "{way:?}");
    }
    server.is_quiet().await;
}

/// A granted directory is opened with fopen(), stat() and opendir().
#[tokio::test]
async fn opens_files_that_are_granted() {
    if !c_compiler("c_library::opens_files_that_are_granted") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let component = build(&folder, "-DFILES").await;
    let keys = "preopens = [{ directory = \"data\", path = \"/data\", mode = \"write\" }]";
    let server = serve(&component, keys)
        .and("[directory.data]\npath = \"data\"\n")
        .file("data/lines", "one\ntwo\n")
        .start()
        .await;
    assert_eq!(server.text("/files").await, "one\n8 then 13, 3 entries\n");
    assert_eq!(server.text("/files").await, "one\n13 then 18, 3 entries\n");
    for (path, reason) in [("/none", "No such file or directory\n"), ("/outside", "No such file or directory\n")] {
        let answer = server.fetch(Way::H1, Ask::get(path)).await;
        assert_eq!((answer.status, answer.text().as_str()), (404, reason), "{path}");
    }
    assert_eq!(server.text("/print").await, "1 2 3.5 apples 1\n");
    server.log.message("printed 42 times 1.414").await;
    let without = serve(&component, "").beside().start().await;
    assert_eq!(without.fetch(Way::H1, Ask::get("/files")).await.status, 404, "nothing is granted");
    server.is_quiet().await;
}
