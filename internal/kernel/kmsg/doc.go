// Package kmsg owns the text of kernel logs: what may stand around a line (dmesg,
// /dev/kmsg, journal, syslog, serial), and which lines together are the report of
// an OOM kill, of a slab or page allocation that failed, or a runtime's word on a
// cgroup that could not be made. It is pure, streaming, total on junk and bounded.
// It must not know where a log comes from nor what its numbers mean.
//
// Formats: linux mm/oom_kill.c (dump_header, dump_tasks, __oom_kill_process,
// dump_oom_summary), mm/memcontrol.c (mem_cgroup_print_oom_meminfo, on el7 and 4.x
// mem_cgroup_print_oom_info), mm/slub.c (slab_out_of_memory), mm/page_alloc.c
// (warn_alloc), lib/show_mem.c, lib/ratelimit.c; the dressing: kernel/printk/printk.c
// (info_print_ext_header, msg_add_ext_text, print_caller).
//
// Names are hostile. A command name has at most 15 bytes of any kind, so it cannot
// hold a whole line of these reports; names are cut out from both ends of a line by
// what the kernel prints around them. A line break in a name shows as a further
// line of the same message where the dressing keeps messages apart (/dev/kmsg,
// dmesg, journal): there such lines may carry numbers, never the parts of a report
// that name somebody. Where the dressing says that a line is not the kernel's
// (facility, tag), it can only be a runtime's.
package kmsg
