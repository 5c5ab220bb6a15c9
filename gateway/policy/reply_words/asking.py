"""What asks by itself, for an end of messages or for more of them, and what stands beside it: codes too."""

from collections.abc import Mapping

CLASSES: Mapping[str, str] = {
    # C: a code that refuses only when it is the whole reply
    "C": """
        r t n 0000 零零零零 no_texts no_calls no_messages no_sms no_text no_msgs no_msg no_message no_spam
        no_ads
    """,
    # w: a code as well, but the first half of many words
    "w": """
        退 拒
    """,
    # K: the same, but a serial number may follow (TD+序号 stops one service out of a list)
    "K": """
        td tdtd tdtdtd td0
    """,
    # W: a word that asks by itself for an end of it; typos by sound or by key among them
    "W": """
        退订 退d 退订信息 退阅 退了订 办理退订 办理退订业务 办理退订服务 办理退订手续 处理退订 退订全部服务
        退订所有服务 退订全部业务 退订所有业务
        一键退订 一键拒收 删我号码 删我手机号 删我电话
        操作退订 进行退订 点退订 按退订 点击退订
        拒收 拒收短信
        再不停止 取消我的订阅 取消我订阅 取消信息订阅 取消消息订阅 取消短信订阅 取消短信推送 取消短信通知
        取消短信服务 拒接
        拒绝接收 拒绝接受 拒绝接听 拒绝打扰 拒绝骚扰 拒绝推销
        取消订阅 取消接收 取消推送 取消短信 取消关注
        停止骚扰电话 停止骚扰短信 停止骚扰信息 停止垃圾短信 停止垃圾信息
        停止发送 停止推送 停止接收 终止发送 终止接收 停发
        推送取消 推送关闭 推送关掉 推送关了 推送停掉 推送停了 关闭短信 关闭推送 关闭通知 取消通知 取消营销
        取消发送 屏蔽我 不再接收
        删了我 删掉我 把我删了 把我删掉 把我删除 删除我的号码 删除我号码 删除号码 号码删除 号码删了
        号码删掉 删掉我的号码 删了我的号码 我的号码删除
        删除我的手机号 删除我手机号 删除我的信息 删除我信息 删除我的资料 删除我的电话 删除我电话
        删除我的联系方式
        从名单里删除 从名单中删除 从名单删除 移出名单 移除名单 拉出名单 退出名单 退出列表 退出短信列表
        stop stopall stop_all unsubscribe unsub optout opt_out opt_me_out remove_me remove_my_number
        delete_my_number delete_me take_me_off
        no_more_messages no_more_texts no_more_sms no_more_calls leave_me_alone do_not_disturb
        删除本人号码 删除本号码 删除此号码 删除该号码 删除这个号码 把我移除 将我移除 将我删除 将我剔除
        把我剔除 把我拉出 将我移出 退ding tui订 取消dingyue take_my_number_off take_this_number_off
        remove_this_number delete_my_phone lose_my_number get_me_off cancel_subscription
        cancel_my_subscription stop_sending_me quit_texting quit_sending quit_messaging quit_calling
        cease desist knock_it_off leave_me_be no_longer_wish_to_receive no_longer_want
        no_longer_interested_in_receiving remove_us unsubscribe_me unsubscribed opt_us_out remove_number
        移除我 移除我的号码 移除我号码
        erase_my_number 退退订 退订订 退退订订 拒拒拒 拒拒收 拒收收 退订退 退退退 退订退订 短信停了吧
        短信停掉吧 短信取消吧 短信关了吧 短信停吧 短信取消了吧 短信停掉 短信关掉 短信取消掉 短信停掉了吧
        短信都停了吧 短信关闭吧 举收 表打电话 表来电话 表发短信 bzfl byzfl take_me_out
        no_advertising no_promotions no_more_ads no_more_spam 再退订一次 再退一次
        删除我的个人信息 删除个人信息 删除本人信息 不停止就 不停发就 不停止我就 不取消就投诉 不取消就举报
        再不停发 请拉黑我 请把我拉黑 清除我的信息 清除我信息 删除我所有信息
        删除我的所有信息 删掉我的信息 注销我的信息 删掉我的联系方式 不要保留我的号码 别留我号码 不要留我号码
        取消订阅服务 取消订阅业务 中止发送 停止短信发送 停止短信推送 停止广告推送 不再推送
        加入拒收名单 列入拒收名单 加到拒收名单 放入拒收名单 设为拒收 勿电
        屏蔽本号码 屏蔽我的号码 屏蔽我号码 屏蔽此号码 屏蔽本机 stopstop opting_out
        delete_my_info delete_my_data end_subscription block_me 从数据库删除 从数据库里删除 从系统删除
        从系统里删除 从系统中删除 从你们系统删除 从你们系统里删除 从你们数据库删除 再不退订 再不拒收
        再不取消订阅 再不取消短信
        不要取消退订 别取消退订 维持退订 保持退订 维持拒收 保持拒收
        维持退订状态 保持退订状态 维持拒收状态
        手机号删掉 手机号删了 手机号码删除 手机号码删掉 电话号码删掉 电话号码删了 电话删掉 号码去掉
        手机号去掉 手机号删除 把我拉入黑名单 将我拉入黑名单 把我加入黑名单 将我加入黑名单 把我列入黑名单
        把我放进黑名单 把我去掉 把我划掉 把我踢了 把我踢出去
        立即停止 马上停止 立刻停止 即刻停止 立马停止 马上停掉 立刻停掉
        i_said_stop i_told_you_to_stop
        stop_it
        不停止发送就 不停止发就 不停止发送我就 不停止发我就 移出群发 把我移出群发 清除我的资料 清除我资料
    """,
    # r: refuses what is named
    "r": """
        拒绝 谢绝 婉拒
    """,
    # /: takes back a permission
    "/": """
        撤回 撤销 收回 撤消
    """,
    # A: asks to get messages again
    "A": """
        订阅 重新订阅 恢复订阅 再次订阅 继续订阅
        取消退订 撤销退订 撤回退订 解除退订 取消拒收 解除拒收 撤销拒收 误退订 误操作退订 退订错 退订错了
        误退 退错了
        继续接收 重新接收 恢复接收 恢复接受 恢复发送 恢复推送 同意接收 同意订阅 愿意接收 重新开通短信
        start unstop subscribe resubscribe resume optin opt_in 要接收 想接收 解除黑名单 移出黑名单
        移出拒收名单 解除屏蔽 opt_back_in opt_me_back_in sign_me_up sign_me_up_again resume_messages
        put_me_back_on subscribe_me resubscribe_me undo_stop 加回来 加回去 取消屏蔽 解除拒收状态
        start_sending resume_sending 取消拒收状态 撤回拒收 撤消退订 撤消拒收 取消拒绝接收 取消拒接 解除拒接
        start_all 开启接收 开启短信接收 撤回退订申请 取消退订申请 取消我的退订 撤销我的退订 把退订取消
        把退订撤销 撤销退订申请 退订撤销 退订作废 取消拉黑
        重新开通短信接收 重新开启短信接收 重新打开短信接收
        undo_unsubscribe undo_opt_out 打开短信接收
    """,
    # e: asks the sender to go on
    "e": """
        继续发 继续发送 继续推送 继续给我发 继续给我推送 重新给我发 重新给我发短信 继续给我发送
        继续发给我 继续寄 接着发 接着推送 继续给我推 恢复给我发 恢复给我推送 恢复给我发送 重新给我发送
        重新给我推送
        重新发给我
    """,
    # E: only with an object, or beside what is undone, the same
    "E": """
        恢复 重新开通 重新开启 重新打开
    """,
    # U: what was done was not meant
    "U": """
        误 不小心 误操作 误点 误点了 误回 误回了 不小心点 不小心点了 不小心回 不小心回了 点错 点错了 按错
        按错了 手滑 错了 发错码 失误 搞错了 弄错了 回错 后悔 后悔了 乱按 乱按的 乱点 乱点的 乱回 乱回的 误按
        误触 按到了 点到了 不小心按 不小心按到 不小心点到 手误
        不退了恢复
    """,
    # V: what people type before a code, copied from the hint
    "V": """
        回覆 短信回复 请回复 请回 回复 回 复 编辑 编辑短信 短信发送 reply 输入
        大写 小写 字母
    """,
    # 7: a code that is cut or not one that anybody prints
    "7": """
        tui tuid tuidi tudin ding ju juj jus jush
        d x q tdx tdd ttd qx ® tu oooo
        举手 聚首 据守 退群 拒售
        tui_din
    """,
    # q: an end of what?
    "q": """
        取消 关闭 关掉 停掉 关了 cancel quit end revoke 停 结束 remove 退出
        关
        解除
    """,
}  # fmt: skip
