#include "lib/dispatch/claim_plan.h"

#include <gtest/gtest.h>

#include <utility>

namespace parkd {
namespace {

using Rooms = std::map<std::string, int32_t>;
using Names = std::set<std::string>;

LotPlaces lot_of(int32_t places, Rooms jobs, Names backlogged = {}) {
  return {places, std::move(jobs), std::move(backlogged)};
}

ClaimRequest plan(const LotPlaces& lot) {
  return plan_claim("m", lot, lot.free());
}

ClaimRequest claim_of(int32_t max_jobs, Rooms rooms, std::optional<int32_t> others) {
  ClaimRequest claim{"m", max_jobs};
  claim.tenant_room = std::move(rooms);
  claim.others_room = others;
  return claim;
}

TEST(ClaimPlan, an_empty_lot_is_filled_by_whoever_comes_but_for_the_kept_place) {
  const ClaimRequest claim = plan(lot_of(8, {}));
  EXPECT_EQ(claim.max_jobs, 8);
  EXPECT_TRUE(claim.tenant_room.empty());
  EXPECT_FALSE(claim.others_room.has_value());
  EXPECT_EQ(plan_claim("m", lot_of(8, {}), 3).max_jobs, 3);
}

TEST(ClaimPlan, alone_a_tenant_has_room_everywhere_but_in_the_kept_place) {
  const ClaimRequest claim = plan(lot_of(8, {{"a", 5}}, {"a"}));
  EXPECT_EQ(claim.max_jobs, 4);
  EXPECT_EQ(claim.tenant_room, (Rooms{{"a", 3}}));
  EXPECT_EQ(claim.others_room, 3) << "who comes next has its share as the second, of what is free";
  EXPECT_EQ(plan(lot_of(8, {{"a", 8}})).tenant_room, (Rooms{{"a", 0}}));
  EXPECT_EQ(plan(lot_of(8, {{"a", 8}})).others_room, 1);
}

TEST(ClaimPlan, a_tenant_at_its_share_waits_while_another_below_its_own_may_have_more) {
  EXPECT_EQ(plan(lot_of(8, {{"a", 4}, {"b", 1}}, {"a", "b"})).tenant_room,
            (Rooms{{"a", 0}, {"b", 3}}));
  EXPECT_EQ(plan(lot_of(8, {{"a", 4}, {"b", 1}}, {"a"})).tenant_room, (Rooms{{"a", 3}, {"b", 3}}))
      << "the last claim showed that b has no more";
  EXPECT_EQ(plan(lot_of(8, {{"a", 4}, {"b", 2}}, {"a", "b", "newcomer"})).tenant_room,
            (Rooms{{"a", 0}, {"b", 0}}))
      << "the newcomer counts, so both have their share";
}

TEST(ClaimPlan, below_its_share_a_tenant_may_have_the_kept_place_where_others_give_back) {
  EXPECT_EQ(plan(lot_of(8, {{"a", 7}, {"b", 1}}, {"a", "b"})).tenant_room,
            (Rooms{{"a", 0}, {"b", 1}}));
  EXPECT_EQ(plan(lot_of(2, {{"a", 1}, {"b", 1}}, {"a", "b"})).tenant_room,
            (Rooms{{"a", 0}, {"b", 0}}))
      << "nobody has more than its share: it is for a tenant that has none";
}

TEST(ClaimPlan, a_claim_is_worth_its_while_when_who_may_have_more_has_room) {
  EXPECT_TRUE(is_worth_asking(lot_of(8, {{"a", 5}}, {"a"}), 4));
  EXPECT_FALSE(is_worth_asking(lot_of(8, {{"a", 5}}), 4)) << "it had no more";
  EXPECT_FALSE(is_worth_asking(lot_of(8, {{"a", 8}}, {"a"}), 1)) << "the place is kept";
  EXPECT_TRUE(is_worth_asking(lot_of(8, {{"a", 8}}, {"b"}), 1)) << "for one like b";
  EXPECT_FALSE(is_worth_asking(lot_of(8, {{"a", 8}, {"b", 1}}, {"a", "b"}), 0));
}

TEST(ClaimPlan, who_got_all_it_had_room_for_may_have_more) {
  EXPECT_EQ(backlogged_after(claim_of(8, {}, {}), {{"a", 3}}, {"b"}), Names{});
  EXPECT_EQ(backlogged_after(claim_of(8, {{"a", 0}, {"b", 2}, {"c", 2}}, 1),
                             {{"b", 1}, {"c", 2}, {"newcomer", 1}}, {}),
            (Names{"a", "c", "newcomer"}));
  EXPECT_EQ(backlogged_after(claim_of(3, {{"a", 3}, {"b", 3}}, 1), {{"a", 2}, {"c", 1}}, {"b"}),
            (Names{"a", "b", "c"}))
      << "a filled claim says nothing of those who got less than there was room for";
}

TEST(ClaimPlan, places_are_given_back_only_after_others_have_come) {
  const LotPlaces lot = lot_of(8, {{"a", 8}, {"b", 1}}, {"a", "b"});
  EXPECT_EQ(who_gives_back(lot), std::vector<std::string>{"a"});
  EXPECT_EQ(places_wanted(lot, {}), 0);
  EXPECT_EQ(places_wanted(lot, {{"a", 2}}), 0) << "what came is of the one above its share";
  EXPECT_EQ(places_wanted(lot, {{"b", 1}}), 2) << "the kept one, and as many as came";
  EXPECT_EQ(places_wanted(lot_of(8, {{"a", 8}, {"b", 1}}, {"a"}), {{"b", 1}}), 1);
  EXPECT_EQ(places_wanted(lot_of(8, {{"a", 5}, {"b", 3}}, {"b"}), {{"b", 3}}), 2)
      << "no more than its share";
  EXPECT_EQ(places_wanted(lot_of(8, {{"a", 4}, {"b", 4}}, {"a", "b"}), {{"b", 3}}), 0);
}

TEST(ClaimPlan, who_has_the_most_gives_back_first_and_nobody_below_its_share) {
  EXPECT_EQ(who_gives_back(lot_of(9, {{"a", 4}, {"b", 5}, {"c", 1}})),
            (std::vector<std::string>{"b", "a"}));
  EXPECT_TRUE(who_gives_back(lot_of(2, {{"a", 1}, {"b", 1}, {"c", 1}})).empty())
      << "more tenants than places: each may have one";
}

}  // namespace
}  // namespace parkd
