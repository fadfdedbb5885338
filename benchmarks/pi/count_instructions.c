/* QEMU user-mode plugin: counts guest instructions, and writes the count whenever the guest asks.

   Every translated block adds its number of instructions to a counter, inline, so that counts are exact and repeatable.
   The guest asks by closing READ_COUNTER_FD, which cannot be open. The count goes to the file of the argument `to`.

   No Debian package holds QEMU's plugin header; these declarations are version 1 of the interface (QEMU 4.2 to 8.x). */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define VISIBLE __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
enum plugin_op { ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum plugin_op, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
typedef void on_syscall(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall *);

VISIBLE int qemu_plugin_version = 1;

enum { AARCH64_CLOSE = 57, READ_COUNTER_FD = -20000 };

static uint64_t instructions;
static FILE *output;

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &instructions, qemu_plugin_tb_n_insns(block));
}

static void called(plugin_id id, unsigned vcpu, int64_t number, uint64_t first, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)vcpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number == AARCH64_CLOSE && (int32_t)first == READ_COUNTER_FD) {
    fprintf(output, "instructions %" PRIu64 "\n", instructions);
    fflush(output);
  }
}

VISIBLE int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (strncmp(argv[i], "to=", 3) == 0) output = fopen(argv[i] + 3, "w");
  if (!output) {
    fprintf(stderr, "count_instructions: expected to=FILE, a writable file\n");
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
